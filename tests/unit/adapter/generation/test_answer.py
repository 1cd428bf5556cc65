"""Tokens in, text out: where an answer ends, what of it is shown, and which log probabilities go with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapter.generation.answer import Answer
from adapter.generation.events import TokenLogprob
from tests.unit.tokentext.tokenizer_kinds import KINDS, SAMPLES, write_folder
from tokentext import IncrementalDetokenizer, TextTokenizer

END, OTHER_END = 5000, 5001  # outside the vocabulary: they have no text


@dataclass
class Outcome:
    """What a client sees of an answer."""

    text: str = ""
    deltas: list[str] = field(default_factory=list)
    reason: str | None = None
    count: int = 0
    logprobs: list[int] = field(default_factory=list)  # ids of the tokens


def play(
    tokenizer: TextTokenizer,
    steps: list[list[int]],
    *,
    stop: tuple[str, ...] = (),
    max_tokens: int = 10_000,
    logprobs: bool = False,
    last: str = "stop",
) -> Outcome:
    """Hands an engine's steps to an answer as `Generation` does: log probabilities go out with text only."""
    answer = Answer(tokenizer, stop=stop, end_ids=(END, OTHER_END), max_tokens=max_tokens, logprobs=logprobs)
    outcome = Outcome()

    def show(text: str) -> None:
        if text:
            outcome.deltas.append(text)
            handed = answer.logprobs()
            assert (handed is None) is not logprobs
            outcome.logprobs += [item.token_id for item in handed or ()]

    for step in steps:
        values = [TokenLogprob(token, -1.0, []) for token in step]
        show(answer.push(step, values if logprobs else None))
        if answer.finish_reason is not None:
            break
    if answer.finish_reason is None:
        show(answer.finish(last))
    outcome.text = "".join(outcome.deltas)
    outcome.reason = answer.finish_reason
    outcome.count = answer.completion_tokens
    return outcome


def decoded(tokenizer: TextTokenizer, ids: list[int]) -> str:
    """What `tokentext` makes of them; it differs from `decode` for bytes that are no text."""
    detokenizer = IncrementalDetokenizer(tokenizer)
    return detokenizer.push(ids) + detokenizer.flush()


def one_by_one(ids: list[int]) -> list[list[int]]:
    return [[token] for token in ids]


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TextTokenizer]:
    root = tmp_path_factory.mktemp("kinds")
    names = ("byte_level", "llama_like", "metaspace_always", "byte_fallback_without_table")
    return {name: TextTokenizer(write_folder(root / name, KINDS[name]())) for name in names}


@pytest.mark.parametrize("kind", ["byte_level", "llama_like", "metaspace_always", "byte_fallback_without_table"])
@pytest.mark.parametrize("text", [sample for sample in SAMPLES if "<|" not in sample])
def test_every_cut_gives_the_same_text(kinds: dict[str, TextTokenizer], kind: str, text: str) -> None:
    tokenizer = kinds[kind]
    ids = tokenizer.encode(text)
    whole = play(tokenizer, [ids])
    assert whole.text == tokenizer.decode(ids)
    assert whole.count == len(ids)
    for cut in range(1, len(ids)):
        halves = play(tokenizer, [ids[:cut], ids[cut:]])
        assert (halves.text, halves.reason, halves.count) == (whole.text, whole.reason, whole.count)
    singles = play(tokenizer, one_by_one(ids))
    assert (singles.text, singles.reason, singles.count) == (whole.text, whole.reason, whole.count)


TEXT = st.lists(
    st.sampled_from(["a", "b", "ab", "END", " ", "é", "日本", "😀", "\ufffd", "aEN", "D"]), max_size=12
).map("".join)


@st.composite
def cut_answers(draw: st.DrawFn) -> tuple[str, list[int], bool, tuple[str, ...], int, bool]:
    text = draw(TEXT)
    cuts = draw(st.lists(st.integers(0, 60), max_size=8))
    ended = draw(st.booleans())
    stop = draw(st.lists(st.sampled_from(["END", "ab", "本", "😀", "aENDb", "b ", "é日"]), max_size=3, unique=True))
    max_tokens = draw(st.integers(1, 40))
    logprobs = draw(st.booleans())
    return text, cuts, ended, tuple(stop), max_tokens, logprobs


@given(cut_answers(), st.sampled_from(["byte_level", "llama_like", "byte_fallback_without_table"]))
@settings(max_examples=400, deadline=None)
def test_an_answer_does_not_depend_on_how_its_tokens_are_cut(
    kinds: dict[str, TextTokenizer], case: tuple[str, list[int], bool, tuple[str, ...], int, bool], kind: str
) -> None:
    text, cuts, ended, stop, max_tokens, logprobs = case
    tokenizer = kinds[kind]
    ids = tokenizer.encode(text) + ([END] if ended else [])
    edges = sorted({0, len(ids), *(cut for cut in cuts if cut < len(ids))})
    steps = [ids[start:end] for start, end in pairwise(edges)]
    cut = play(tokenizer, steps, stop=stop, max_tokens=max_tokens, logprobs=logprobs)
    single = play(tokenizer, one_by_one(ids), stop=stop, max_tokens=max_tokens, logprobs=logprobs)
    assert (cut.text, cut.reason, cut.count, cut.logprobs) == (
        single.text,
        single.reason,
        single.count,
        single.logprobs,
    )
    # Against the definition: the text of all the tokens that count, up to the first stop string.
    kept = [token for token in ids[:max_tokens] if token != END]
    full = decoded(tokenizer, kept)
    hits = [full.index(word) for word in stop if word in full]
    assert cut.text == (full[: min(hits)] if hits else full)
    assert cut.reason == ("stop" if hits or len(ids) < max_tokens or END in ids[:max_tokens] else "length")
    if logprobs and not hits:
        # Only what adds no text, at the very end, may be missing.
        assert cut.logprobs == kept[: len(cut.logprobs)]
        assert decoded(tokenizer, kept[: len(cut.logprobs)]) == full


def test_a_partial_stop_string_is_never_shown(tokenizer: TextTokenizer) -> None:
    ids = tokenizer.encode("Hello STOP, but not STO")
    answer = Answer(tokenizer, stop=("STOP here",), end_ids=(END,), max_tokens=100, logprobs=False)
    shown = ""
    for token in ids:
        shown += answer.push([token])
        assert not any(shown.endswith("STOP here"[:size]) for size in range(1, 9))
    assert shown == "Hello STOP, but not "
    assert answer.push([END]) == "STO"  # it was none after all
    assert answer.finish_reason == "stop" and not answer.stopped


def test_a_stop_string_in_the_first_token(tokenizer: TextTokenizer) -> None:
    outcome = play(tokenizer, one_by_one(tokenizer.encode("STOP and more")), stop=("S",))
    assert outcome == Outcome("", [], "stop", 1, [])


def test_the_engine_is_told_of_a_stop_string_only(tokenizer: TextTokenizer) -> None:
    for stop, ids, told in ((("b",), [*tokenizer.encode("ab")], True), (("x",), [*tokenizer.encode("ab"), END], False)):
        answer = Answer(tokenizer, stop=stop, end_ids=(END,), max_tokens=100, logprobs=False)
        answer.push(ids)
        assert answer.finish_reason == "stop"
        assert answer.stopped is told


def test_nothing_after_the_end_is_looked_at(tokenizer: TextTokenizer) -> None:
    more = tokenizer.encode(" more")
    for end in (END, OTHER_END):
        outcome = play(tokenizer, [[*tokenizer.encode("Hi"), end, *more], more])
        assert (outcome.text, outcome.reason) == ("Hi", "stop")
        assert outcome.count == len(tokenizer.encode("Hi")) + 1
    stopped = play(tokenizer, [[*tokenizer.encode("a#b"), *more]], stop=("#",))
    assert stopped.text == "a"
    assert stopped.count == len(tokenizer.encode("a#"))


def test_the_end_comes_first(tokenizer: TextTokenizer) -> None:
    assert play(tokenizer, [[END]], logprobs=True) == Outcome("", [], "stop", 1, [])


def test_no_tokens_at_all(tokenizer: TextTokenizer) -> None:
    assert play(tokenizer, [], last="stop") == Outcome("", [], "stop", 0, [])
    assert play(tokenizer, [[], []], last="length") == Outcome("", [], "length", 0, [])


def test_length(tokenizer: TextTokenizer) -> None:
    ids = tokenizer.encode("Hello world, how are you")
    for limit in range(1, len(ids)):
        for steps in (one_by_one(ids), [ids]):  # an engine that goes on too far adds nothing
            outcome = play(tokenizer, steps, max_tokens=limit)
            assert outcome.reason == "length"
            assert outcome.count == limit
            assert outcome.text == tokenizer.decode(ids[:limit])
    # The end may be the last token that was allowed.
    assert play(tokenizer, one_by_one([ids[0], END]), max_tokens=2).reason == "stop"


def test_length_in_the_middle_of_a_character(tokenizer: TextTokenizer) -> None:
    ids = tokenizer.encode("\U00010348")
    assert len(ids) > 1, "the character has to be several tokens for this test"
    outcome = play(tokenizer, one_by_one(ids), max_tokens=len(ids) - 1)
    assert (outcome.text, outcome.reason) == ("\ufffd", "length")


def test_a_stop_string_that_the_last_token_makes_certain(tokenizer: TextTokenizer) -> None:
    """With "ab" found, "abc" cannot begin earlier; with "xab" under way it could: the end decides."""
    outcome = play(tokenizer, one_by_one([*tokenizer.encode("xa"), END]), stop=("a", "xay"))
    assert (outcome.text, outcome.reason) == ("x", "stop")


def test_log_probabilities_go_with_the_text_that_is_shown(tokenizer: TextTokenizer) -> None:
    ids = tokenizer.encode("one two # three")
    for steps in (one_by_one(ids), [ids]):
        outcome = play(tokenizer, steps, stop=("#",), logprobs=True)
        assert outcome.text == "one two "
        assert outcome.logprobs == ids[: len(outcome.logprobs)]
        shown = tokenizer.decode(outcome.logprobs)
        assert shown.startswith(outcome.text)
        # The last of them is one that is needed for the text.
        assert not tokenizer.decode(outcome.logprobs[:-1]).startswith(outcome.text)


def test_the_log_probability_of_a_token_that_a_stop_string_cuts(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Its first part is shown before the stop string is found in the next token."""
    folder = tmp_path_factory.mktemp("words") / "metaspace"
    tokenizer = TextTokenizer(write_folder(folder, KINDS["metaspace_always"]()))
    hello, end = tokenizer.token_id("▁Hello"), tokenizer.token_id("H")
    assert hello is not None and end is not None
    outcome = play(tokenizer, [[hello], [end]], stop=("loH",), logprobs=True)
    assert outcome.text == "Hel"
    assert outcome.logprobs == [hello]


def test_log_probabilities_of_the_parts_of_a_character(tokenizer: TextTokenizer) -> None:
    ids = tokenizer.encode("a\U00010348b")
    outcome = play(tokenizer, one_by_one(ids), logprobs=True)
    assert outcome.deltas == ["a", "\U00010348", "b"]
    assert outcome.logprobs == ids
    # Cut off by a stop string, none of its parts is shown.
    for steps in (one_by_one(ids), [ids[:2], ids[2:]], [ids]):
        assert play(tokenizer, steps, stop=("\U00010348",), logprobs=True).logprobs == ids[:1]


def test_log_probabilities_have_to_be_complete(tokenizer: TextTokenizer) -> None:
    """Text is never left out because its log probability is."""
    ids = tokenizer.encode("some text here")
    answer = Answer(tokenizer, stop=(), end_ids=(), max_tokens=100, logprobs=True)
    with pytest.raises(ValueError):
        answer.push(ids, [TokenLogprob(token, -1.0, []) for token in ids[:-1]])


def test_special_tokens_have_no_text(tokenizer: TextTokenizer) -> None:
    start = tokenizer.token_id("<|start|>")
    assert start is not None
    ids = tokenizer.encode("ab")
    outcome = play(tokenizer, one_by_one([start, *ids, start, END]))
    assert outcome.text == "ab"
    assert outcome.count == len(ids) + 3
