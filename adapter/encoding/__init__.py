"""Wire forms: each one an encoder of the same events."""
