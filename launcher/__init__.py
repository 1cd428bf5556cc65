"""The `tritongate` command: serves, supervises Triton, and says what is missing on a machine."""
