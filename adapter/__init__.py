"""The Tritongate adapter: the OpenAI API over a Triton Inference Server."""
