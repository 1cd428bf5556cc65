"""Stop strings: against a naive search of the whole text, however it is cut."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokentext import StopMatcher

many = settings(max_examples=500, deadline=None)


def naive(stops: Sequence[str], text: str) -> tuple[str, str | None]:
    """What is shown of a whole text, and the stop string: the one that begins first, then the shorter one."""
    found = min(((text.find(stop), len(stop), stop) for stop in stops if stop in text), default=None)
    return (text, None) if found is None else (text[: found[0]], found[2])


def fed(stops: Sequence[str], pieces: Sequence[str]) -> tuple[str, str | None]:
    matcher = StopMatcher(stops)
    shown = []
    for piece in pieces:
        text, hit = matcher.push(piece)
        shown.append(text)
        assert hit == matcher.hit
        if hit is not None:
            assert matcher.push("more") == ("", hit)
            assert matcher.flush() == ""
            return "".join(shown), hit
    shown.append(matcher.flush())
    return "".join(shown), matcher.hit


def cut(text: str, places: Sequence[int]) -> list[str]:
    borders = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[start:end] for start, end in itertools.pairwise(borders)]


CASES = [
    ([], "nothing to find"),
    (["\n\n"], "one\ntwo\n\nthree"),
    (["aab"], "aaab"),
    (["aab"], "aaaaaaab tail"),
    (["abab"], "abaabab"),
    (["abcabd"], "abcabcabd."),
    (["ab", "abc"], "xabcx"),
    (["abc", "ab"], "xabcx"),
    (["abcd", "bc"], "xabcdx"),
    (["abcd", "bc"], "xabcx"),
    (["abcd", "bc"], "xabc"),
    (["abcd", "c"], "ababcx"),
    (["abcde", "bcd", "c"], "zabcdz"),
    (["abcde", "bcd", "c"], "zabcdez"),
    (["aaaa", "aa"], "baaa"),
    (["stop", "top", "op"], "the stop"),
    (["stop", "top", "op"], "the top"),
    (["</s>", "<|im_end|>", "<|im_start|>"], "a <|im_en <|im_end|> b"),
    (["日本語", "本"], "これは日本の"),
    (["日本語", "本"], "これは日本語の"),
    (["👩‍👩‍👧"], "👩‍👩‍👦 and 👩‍👩‍👧!"),
    (["e\u0301"], "cafe e\u0301!"),
    (["."], "..."),
    (["^-]", "[a", "\\d"], "x [^-] y"),
    (["a"], ""),
    (["User:", "\nUser"], "Hi\nUser: x"),
]


@pytest.mark.parametrize(("stops", "text"), CASES)
def test_every_cut_into_three(stops: list[str], text: str) -> None:
    wanted = naive(stops, text)
    assert fed(stops, [text]) == wanted
    assert fed(stops, list(text)) == wanted
    for first in range(len(text) + 1):
        for second in range(first, len(text) + 1):
            assert fed(stops, [text[:first], text[first:second], text[second:]]) == wanted


@given(
    stops=st.lists(st.text("ab", min_size=1, max_size=5), max_size=4),
    text=st.text("abc", max_size=30),
    places=st.lists(st.integers(0, 30), max_size=8),
)
@many
def test_few_letters_many_overlaps(stops: list[str], text: str, places: list[int]) -> None:
    assert fed(stops, cut(text, places)) == naive(stops, text)


@given(data=st.data(), text=st.text(min_size=1, max_size=40), places=st.lists(st.integers(0, 40), max_size=8))
@many
def test_any_unicode(data: st.DataObject, text: str, places: list[int]) -> None:
    """Stop strings that are parts of the text, or parts of it with another end."""
    stops = []
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text) - 1))
        end = data.draw(st.integers(start + 1, len(text)))
        stops.append(text[start:end] + data.draw(st.sampled_from(["", "x", "\u0301"])))
    assert fed(stops, cut(text, places)) == naive(stops, text)


@given(stops=st.lists(st.text("ab", min_size=1, max_size=5), min_size=1, max_size=4), text=st.text("abc", max_size=30))
@many
def test_nothing_is_held_back_without_need(stops: list[str], text: str) -> None:
    """After each character, what is held back is the beginning of a stop string, or waits for an earlier one."""
    matcher = StopMatcher(stops)
    shown = ""
    for count, character in enumerate(text, start=1):
        piece, hit = matcher.push(character)
        shown += piece
        if hit is not None:
            # Certain at the first character at which it can be: one earlier, an earlier stop string was possible.
            before = text[: count - 1]
            start = len(shown)
            possible = any(
                stop.startswith(before[place:]) for stop in stops for place in range(start) if place < count - 1
            )
            assert hit not in before or possible
            return
        held = text[:count][len(shown) :]
        assert text[:count].startswith(shown)
        assert not held or any(stop.startswith(held) for stop in stops)


def test_a_plain_text_passes_at_once() -> None:
    matcher = StopMatcher(["\n\nUser:", "END"])
    assert matcher.push("Hello, world") == ("Hello, world", None)
    assert matcher.push(" the E") == (" the ", None)
    assert matcher.push("N") == ("", None)
    assert matcher.push("TER") == ("ENTER", None)


def test_without_stop_strings() -> None:
    matcher = StopMatcher([])
    assert matcher.push("any") == ("any", None)
    assert (matcher.flush(), matcher.hit) == ("", None)


def test_an_empty_stop_string_is_refused() -> None:
    with pytest.raises(ValueError, match="must not be empty"):
        StopMatcher(["a", ""])


def test_the_end_decides_a_stop_string_that_waited() -> None:
    matcher = StopMatcher(["abcd", "bc"])
    assert matcher.push("xabc") == ("x", None)
    assert matcher.hit is None
    assert matcher.flush() == "a"
    assert matcher.hit == "bc"
    assert matcher.push("later") == ("", "bc")


def test_usable_again_after_an_end_without_a_hit() -> None:
    matcher = StopMatcher(["abc"])
    assert matcher.push("ab") == ("", None)
    assert matcher.flush() == "ab"
    assert matcher.push("c") == ("c", None)
    assert matcher.push("abc") == ("", "abc")


class CountedText(str):
    """Counts how often a character of it is looked at."""

    looks = 0

    def __getitem__(self, key: object) -> str:
        CountedText.looks += 1
        value = str.__getitem__(self, key)  # type: ignore[index]
        return CountedText(value) if isinstance(key, slice) else value

    def __radd__(self, other: str) -> CountedText:
        return CountedText(str(other) + str(self))

    def __add__(self, other: str) -> CountedText:
        return CountedText(str(self) + str(other))


@pytest.mark.parametrize(
    "stops",
    [
        ["a" * 2000 + "b"],
        ["a" * 1000 + "b", "a" * 999 + "d", "ab" * 400, "ba" * 300 + "c"],
        ["a" * count + "b" for count in range(1, 400)],
    ],
)
def test_the_work_grows_with_the_text_alone(stops: list[str]) -> None:
    """Every character is looked at once, however long its beginning of a stop string turns out to be."""
    text = ("a" * 1999 + "c") * 10
    for size in (1, 7, len(text)):
        matcher = StopMatcher(stops)
        CountedText.looks = 0
        shown = []
        pieces = 0
        for start in range(0, len(text), size):
            piece, hit = matcher.push(CountedText(text[start : start + size]))
            pieces += 1
            shown.append(piece)
            if hit is not None:
                break
        else:
            shown.append(matcher.flush())
        assert ("".join(shown), matcher.hit) == naive(stops, text)
        assert len(text) <= CountedText.looks <= len(text) + 4 * pieces


class CountedChildren(dict[str, int]):
    steps = 0

    def __contains__(self, key: object) -> bool:
        CountedChildren.steps += 1
        return dict.__contains__(self, key)


def test_the_automaton_steps_back_no_more_often_than_forward() -> None:
    matcher = StopMatcher(["a" * 3000 + "b"])
    matcher._children = [CountedChildren(children) for children in matcher._children]
    CountedChildren.steps = 0
    text = "a" * 2999 + "a" * 3000 + "c"
    for character in text:
        matcher.push(character)
    assert len(text) <= CountedChildren.steps <= 2 * len(text) + 2
