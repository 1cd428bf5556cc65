"""`tensorrt_llm.inputs`: prompts with images."""
