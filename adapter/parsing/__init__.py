"""What a model writes, taken apart: reasoning, tool calls, and the text meant for the reader. Knows no HTTP."""
