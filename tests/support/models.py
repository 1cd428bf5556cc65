"""The models that tests talk to, by the ids that the catalog gives them."""

from __future__ import annotations

CHAT = "huggingfacetb/smollm2-135m-instruct"
"""Answers fast, and badly: for everything where any text will do."""

GOOD_CHAT = "qwen/qwen2.5-coder-0.5b-instruct"
"""The default chat model: for what needs an answer that makes sense, and for tools."""

EMBEDDING = "sentence-transformers/all-minilm-l6-v2"
"""The default embedding model."""

ALL = [CHAT, GOOD_CHAT, EMBEDDING]
