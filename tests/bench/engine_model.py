"""The Triton repository of the bench: the token-at-will model, with a real tokenizer: a chat model to the adapter."""

from __future__ import annotations

from pathlib import Path

from build.catalog import load_catalog
from build.fetch import fetch
from build.parts import make_parts
from build.render import render_config
from tokentext import TextTokenizer
from tokentext.cache import cache_folder

SOURCE = Path(__file__).parent / "models" / "token_at_will"
NAME = "token-at-will_engine"
MODEL_ID = "bench/token-at-will"
TOKENIZER_OF = "huggingfacetb/smollm2-135m-instruct"
WORDS = " the of and to in is that it was for on are with they be at one have this from by hot but some what there we"
CONTEXT_LENGTH = 1 << 20  # never what ends an answer here


def assemble(repository: Path, tokens_per_second: float, instances: int) -> str:
    """Writes the model into `repository`; fetches the tokenizer's source if it is not in the cache.

    Args:
        tokens_per_second: of each stream; 0: as fast as it can.
        instances: Python processes that answer.
    Returns: token ids of a short prompt, for clients without a tokenizer.
    """
    entry = load_catalog().get(TOKENIZER_OF)
    cache = cache_folder()
    parts = make_parts(entry, fetch(entry, cache, notify=print), cache)
    assert parts.facts is not None
    tokenizer = TextTokenizer(parts.tokenizer)
    word_ids = tokenizer.encode(WORDS)
    if len(word_ids) != len(WORDS.split()) or set(word_ids) & {*parts.facts.end_ids, *tokenizer.special_ids}:
        raise ValueError(f"the tokenizer of {TOKENIZER_OF} has no token for each of the bench's words")
    config = render_config(
        SOURCE / "config.pbtxt",
        {
            "name": NAME,
            "word_ids": ",".join(map(str, word_ids)),
            "tokens_per_second": str(tokens_per_second),
            "instances": instances,
        },
        {
            "served_model_id": MODEL_ID,
            "served_kind": "chat",
            "served_owned_by": "bench",
            "served_created": "0",
            "family": entry.family,
            "context_length": str(CONTEXT_LENGTH),
            "vocab_size": str(parts.facts.vocab_size),
            "end_ids": ",".join(map(str, parts.facts.end_ids)),
            "tokenizer_dir": str(parts.tokenizer),
            "tokenizer_sha256": parts.tokenizer_sha256,
            "engine": "token-at-will",
        },
    )
    version = repository / NAME / "1"
    version.mkdir(parents=True)
    (version.parent / "config.pbtxt").write_text(config, encoding="utf-8")
    (version / "model.py").write_bytes((SOURCE / "1" / "model.py").read_bytes())
    return ",".join(map(str, tokenizer.encode("Say many words.")))
