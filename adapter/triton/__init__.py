"""Triton's side: the gRPC channel, the tensor contract, and which models there are."""
