"""Text on either side of a language model: chat templates, tokenizers, incremental decoding, stop strings.

Pure code over `tokenizers` and `jinja2`: no HTTP, no Triton, no numpy. The adapter and the Python models inside
Triton import the same package, so a text is tokenized and decoded in one way only.
"""

from __future__ import annotations

from tokentext.detokenizer import IncrementalDetokenizer
from tokentext.files import TOKENIZER_FILES, tokenizer_digest
from tokentext.stops import StopMatcher
from tokentext.template import ChatTemplate, TemplateError
from tokentext.tokenizer import TextTokenizer, TokenizerFolderError

__all__ = [
    "TOKENIZER_FILES",
    "ChatTemplate",
    "IncrementalDetokenizer",
    "StopMatcher",
    "TemplateError",
    "TextTokenizer",
    "TokenizerFolderError",
    "tokenizer_digest",
]
