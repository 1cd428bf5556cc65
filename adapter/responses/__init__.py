"""Responses: turns of the model, server-side tools between them, and the record that is kept of it all."""
