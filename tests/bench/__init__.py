"""What the adapter costs per token, against a bare gRPC client and a featureless proxy: `python -m tests.bench`."""
