from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapter.parsing.json_text import MAX_DEPTH, JsonScanner, JsonStringDecoder
from tests.unit.adapter.parsing.json_families import values


@settings(max_examples=150, deadline=None)
@given(values.map(lambda value: [value]), st.booleans(), st.integers(1, 7))
def test_ends_exactly_where_the_value_does(value: object, ascii: bool, size: int) -> None:
    text = json.dumps(value, ensure_ascii=ascii)
    scanner, read = JsonScanner(), 0
    for at in range(0, len(text), size):
        assert not scanner.done
        read += scanner.feed(text[at : at + size])
    assert (scanner.done, scanner.error, read) == (True, None, len(text))
    whole = JsonScanner()
    assert whole.feed(text + " ]}") == len(text) and whole.done


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("{a", 1), ('{"a" 1', 5), ('{"a":}', 5), ("[1,]", 3), ('{"a":1,}', 7), ("[01", 2), ("[1.]", 3), ("[-]", 2),
        ("[1e]", 3), ('["\\x"]', 3), ('["\\u12g4"]', 6), ('["a\n"]', 3), ("[tru]", 4), ("{]", 1), ("NaN", 0),
        ("[" * (MAX_DEPTH + 1), MAX_DEPTH),
    ],
)  # fmt: skip
def test_stops_at_the_char_that_is_wrong(text: str, at: int) -> None:
    whole, by_char = JsonScanner(), JsonScanner()
    assert whole.feed(text) == at and whole.error
    assert sum(by_char.feed(char) for char in text[: at + 1]) == at
    assert by_char.error == whole.error


@settings(max_examples=150, deadline=None)
@given(st.text(), st.booleans(), st.integers(1, 7))
def test_strings_are_decoded_in_any_pieces(held: str, ascii: bool, size: int) -> None:
    text = json.dumps(held, ensure_ascii=ascii)[1:-1]
    decoder = JsonStringDecoder()
    pieces = [decoder.decode(text[at : at + size]) for at in range(0, len(text), size)]
    assert "".join([*pieces, decoder.decode("", last=True)]) == held


def test_half_a_surrogate_pair_stays_an_escape() -> None:
    assert JsonStringDecoder().decode("\\ud83d!", last=True) == "\\ud83d!"
