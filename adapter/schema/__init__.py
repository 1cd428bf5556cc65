"""Request bodies: what OpenAI clients may send, and what is said when they send something else."""
