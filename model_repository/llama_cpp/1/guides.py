"""Guided decoding: which tokens a guide allows next.

Guides are compiled by llguidance before anything else of a request runs, within limits on size and work, so that a
hostile grammar costs its own request an error and nobody else a pause.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import llguidance
import numpy as np
from llguidance.gbnf_to_lark import gbnf_to_lark

from .guide_trial import affordable
from .json_schemas import bounded
from .structural_tags import structural_tag_grammar

MAX_TEXT = 256 * 1024  # characters of a guide
MAX_DEPTH = 100  # levels of nested JSON


class GuideError(ValueError):
    """The guide cannot be compiled; the message says why. `tensor` is the input at fault."""

    tensor = "guided_decoding_guide"


class UnknownGuideType(GuideError):
    tensor = "guided_decoding_guide_type"


def _limits() -> llguidance.LLParserLimits:
    # A tenth to a half of llguidance's defaults: 20 ms at most to build, 5 ms at most per token.
    return llguidance.LLParserLimits(
        initial_lexer_fuel=1_000_000,
        step_lexer_fuel=100_000,
        step_max_items=50_000,
        max_lexer_states=50_000,
        max_grammar_size=100_000,
        verbose_errors=False,
    )


class _Pieces:
    """The model's vocabulary in the form that llguidance's `TokenizerWrapper` asks for."""

    def __init__(self, pieces: Sequence[bytes], special: Sequence[int], end_id: int) -> None:
        self.tokens = list(pieces)
        self.special_token_ids = list(special)
        self.eos_token_id = end_id
        self.bos_token_id = None
        longest = {piece: token for token, piece in enumerate(pieces) if piece and token not in set(special)}
        self._by_piece = longest
        self._longest = max(map(len, longest), default=1)

    def __call__(self, text: bytes) -> list[int]:
        """A tokenization of `text`, longest pieces first; llguidance needs one only to skip ahead, which we do not."""
        ids: list[int] = []
        position = 0
        while position < len(text):
            for length in range(min(self._longest, len(text) - position), 0, -1):
                token = self._by_piece.get(text[position : position + length])
                if token is not None:
                    ids.append(token)
                    position += length
                    break
            else:
                position += 1
        return ids


class GuideCompiler:
    """Compiles guides for one vocabulary.

    Args:
        pieces: bytes of every token.
        special: ids of control tokens, which are no text: a guide allows them only by name, in structural tags.
        end_ids: the model's own end tokens.
    """

    def __init__(self, pieces: Sequence[bytes], special: Sequence[int], end_ids: Sequence[int]) -> None:
        wrapper = llguidance.TokenizerWrapper(_Pieces(pieces, special, end_ids[0]))
        self._tokenizer = llguidance.LLTokenizer(wrapper, n_vocab=len(pieces), eos_token=list(end_ids))
        self._end_ids = tuple(end_ids)
        self._vocab_size = len(pieces)
        self._control_tokens = {pieces[token].decode("utf-8", "replace"): token for token in special if pieces[token]}
        self._grammars: dict[str, Callable[[str], str]] = {
            "json": _any_json,
            "json_schema": _json_schema,
            "regex": _regex,
            "ebnf_grammar": _ebnf,
            "structural_tag": self._structural_tag,
        }

    def compile(self, kind: str, text: str) -> Guide:
        """Compiles a guide.

        Args:
            kind: TensorRT-LLM's guide type.
            text: the schema, expression or grammar; not looked at for `json`.
        Raises:
            GuideError: unknown kind, or the text is no such guide, or too large or costly a one.
        """
        grammar_of = self._grammars.get(kind)
        if grammar_of is None:
            raise UnknownGuideType(f"{kind!r} is unknown; known are {', '.join(self._grammars)}")
        if len(text) > MAX_TEXT:
            raise GuideError(f"at most {MAX_TEXT} characters, not {len(text)}")
        try:
            grammar = grammar_of(text)
        except RecursionError:
            raise GuideError("nested too deeply") from None
        except ValueError as error:
            raise error if isinstance(error, GuideError) else GuideError(str(error)) from None
        if not affordable(grammar):
            raise GuideError("it takes too much work to compile")
        matcher = llguidance.LLMatcher(self._tokenizer, grammar, log_level=0, limits=_limits())
        if matcher.is_error():
            raise GuideError(_one_line(matcher.get_error()))
        return Guide(matcher, self._end_ids, self._vocab_size)

    def _structural_tag(self, text: str) -> str:
        return structural_tag_grammar(_parse_json(text, "a structural tag"), self._control_tokens, _ebnf)


class Guide:
    """The state of one guide: what has been written, and what may come."""

    def __init__(self, matcher: Any, end_ids: tuple[int, ...], vocab_size: int) -> None:
        self._matcher = matcher
        self._end_ids = end_ids
        self._vocab_size = vocab_size

    def restrict(self, logits: np.ndarray, end_ids: frozenset[int]) -> None:
        """Sets the logits (FP32 [vocab]) of tokens that the guide does not allow to -inf, in place.

        Args:
            end_ids: tokens that end the answer; allowed where the guide may end.
        Raises:
            GuideError: what may come next takes more work than a guide is granted.
        """
        ends = {token: logits[token] for token in end_ids}
        mask = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        self._check()
        allowed = np.unpackbits(mask, bitorder="little", count=self._vocab_size).view(bool)
        logits[~allowed] = -np.inf
        may_end = bool(allowed[self._end_ids[0]])
        logits[list(self._end_ids)] = -np.inf
        for token, logit in ends.items():
            logits[token] = logit if may_end else -np.inf

    def accept(self, token: int) -> bool:
        """Takes a token of the answer; True when nothing may follow.

        Raises:
            GuideError: as `restrict`.
        """
        self._matcher.consume_token(token)
        self._check()
        return bool(self._matcher.is_stopped())

    def _check(self) -> None:
        if self._matcher.is_error():
            raise GuideError(_one_line(self._matcher.get_error()))


def _any_json(_: str) -> str:
    # As xgrammar's built-in JSON grammar: an object or an array, not a bare scalar.
    return _schema_grammar({"type": ["object", "array"]})


def _json_schema(text: str) -> str:
    return _schema_grammar(_parse_json(text, "a JSON schema"))


def _schema_grammar(schema: Any) -> str:
    if not isinstance(schema, dict | bool):
        raise GuideError("a JSON schema is an object")
    return str(llguidance.LLMatcher.grammar_from_json_schema(bounded(schema)))


def _regex(text: str) -> str:
    if not text:
        raise GuideError("the expression is empty")
    return str(llguidance.LLMatcher.grammar_from_regex(text))


def _ebnf(text: str) -> str:
    try:
        return str(gbnf_to_lark(text))
    except RecursionError:
        raise
    except Exception as error:  # the converter also raises what it runs into, such as IndexError
        raise GuideError(f"not an EBNF grammar: {error}") from None


def _parse_json(text: str, what: str) -> Any:
    """Parses JSON of bounded depth.

    Raises:
        GuideError: it is none, or nested more than `MAX_DEPTH` levels deep.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise GuideError(f"not {what}: {error}") from None
    level: list[Any] = [value]
    depth = 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise GuideError(f"nested more than {MAX_DEPTH} levels deep")
        containers = (item for item in level if isinstance(item, dict | list))
        level = [inner for item in containers for inner in (item.values() if isinstance(item, dict) else item)]
    return value


def _one_line(text: str) -> str:
    return " ".join(text.split())[:500] or "it cannot be compiled"
