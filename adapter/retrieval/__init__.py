"""Search in the texts of files: chunks, their vectors, and what is nearest to a question."""
