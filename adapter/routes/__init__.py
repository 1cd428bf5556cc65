"""One file per OpenAI resource: HTTP in, HTTP out."""
