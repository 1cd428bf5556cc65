"""Images and audio of a request: from a URL or base64 to bytes that an engine can be given. Knows no HTTP server."""
