"""A query and a document as one row of token ids, as a cross-encoder was trained to read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tokenizers import Encoding, Tokenizer


@dataclass(frozen=True)
class TokenPair:
    """ids: of both texts and of the special tokens around and between them. type_ids: of each id, by the tokenizer's
    rules: where it tells segments apart, 0 for the query's and 1 for the document's. query_tokens: how many of the ids
    are not the document's."""

    ids: list[int]
    type_ids: list[int]
    query_tokens: int


def encode_pairs(
    tokenizer: Tokenizer,
    queries: Sequence[str],
    documents: Sequence[str],
    *,
    longest: int | None = None,
    longest_document: int | None = None,
) -> list[TokenPair]:
    """Each document with its query, in order, put together by the post-processor of `tokenizer.json`.

    Args:
        tokenizer: with neither truncation nor padding.
        queries: as many as documents, or one for all; that one is tokenized once.
        longest: ids of a pair beyond which the end of the document is cut off (`only_second`); None: nothing is. A
            query is never cut: one that leaves no room for a token of its document gives a pair that is longer.
        longest_document: the same for the ids of a document, special tokens not counted.
    Raises:
        UnicodeEncodeError: a text holds half of a surrogate pair, so it has no UTF-8 form.
    """
    firsts, seconds = _encoded(tokenizer, queries), _encoded(tokenizer, documents)
    special = tokenizer.num_special_tokens_to_add(True)
    pairs = []
    for index, second in enumerate(seconds):
        first = firsts[index if len(firsts) > 1 else 0]
        around = len(first.ids) + special
        limits = [longest_document, None if longest is None or around >= longest else longest - around]
        keep = min((limit for limit in limits if limit is not None), default=None)
        if keep is not None and keep < len(second.ids):
            second.truncate(keep)
        made = tokenizer.post_process(first, second, add_special_tokens=True)
        pairs.append(TokenPair(made.ids, made.type_ids, around))
    return pairs


def _encoded(tokenizer: Tokenizer, texts: Sequence[str]) -> list[Encoding]:
    for text in texts:
        text.encode("utf-8")  # the library says of half of a surrogate pair only that the text is no str
    return tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
