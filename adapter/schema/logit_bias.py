"""`logit_bias`: token ids to what is added to their logits."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import Field, PlainValidator

from adapter.errors import invalid_request
from adapter.schema.violations import out_of_range, render, too_many_properties, wrong_type

_TOKEN_ID = re.compile(r"(0|[1-9][0-9]{0,8})\Z")
_LEAST, _MOST = -100.0, 100.0
_MOST_ENTRIES = 65_536  # checked one by one while nothing else runs


def _token_biases(value: Any) -> dict[int, float] | None:
    """Checked here, at the first error: as a dict of pydantic's, a large one could cause an error for every entry.

    Raises:
        APIError: 400, naming the entry.
    """
    if value is None:
        return None
    if not isinstance(value, dict):
        raise wrong_type("logit_bias", "an object", value)
    if len(value) > _MOST_ENTRIES:
        raise too_many_properties("logit_bias", len(value), _MOST_ENTRIES)
    biases = {}
    for key, bias in value.items():
        entry = render(["logit_bias", key])
        if not _TOKEN_ID.match(key):
            raise invalid_request(f"Invalid key in 'logit_bias': '{key[:40]}' is no token id.", entry, "invalid_value")
        if isinstance(bias, bool) or not isinstance(bias, (int, float)):
            raise wrong_type(entry, "a decimal", bias)
        if not _LEAST <= bias <= _MOST:
            raise out_of_range(entry, bias, _LEAST if bias < _LEAST else _MOST, below=bias < _LEAST)
        biases[int(key)] = float(bias)
    return biases


LogitBias = Annotated[
    dict[int, float] | None,
    PlainValidator(
        _token_biases, json_schema_input_type=dict[str, Annotated[float, Field(ge=_LEAST, le=_MOST)]] | None
    ),
]
