"""The one pipeline: messages -> prompt -> tokens -> Triton -> tokens -> typed events."""
