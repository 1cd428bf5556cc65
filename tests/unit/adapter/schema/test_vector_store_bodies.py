"""Bodies of vector stores know every field that the installed client can send."""

from __future__ import annotations

import typing
from typing import Any

import pytest
from openai.types import (
    file_create_params,
    vector_store_create_params,
    vector_store_search_params,
    vector_store_update_params,
)
from openai.types.vector_stores import file_batch_create_params, file_update_params
from openai.types.vector_stores import file_create_params as put_params

from adapter.errors import APIError
from adapter.schema.body import RequestModel, check
from adapter.schema.files import PURPOSES, parse_file_upload
from adapter.schema.vector_stores import (
    ExpiresAfter,
    FileBatchCreate,
    SearchRanking,
    VectorStoreCreate,
    VectorStoreFileCreate,
    VectorStoreFileUpdate,
    VectorStoreSearch,
    VectorStoreUpdate,
)

IN_PATH = {"vector_store_id"}


@pytest.mark.parametrize(
    ("params", "body"),
    [
        (vector_store_create_params.VectorStoreCreateParams, VectorStoreCreate),
        (vector_store_create_params.ExpiresAfter, ExpiresAfter),
        (vector_store_update_params.VectorStoreUpdateParams, VectorStoreUpdate),
        (vector_store_search_params.VectorStoreSearchParams, VectorStoreSearch),
        (vector_store_search_params.RankingOptions, SearchRanking),
        (put_params.FileCreateParams, VectorStoreFileCreate),
        (file_update_params.FileUpdateParams, VectorStoreFileUpdate),
        (file_batch_create_params.FileBatchCreateParams, FileBatchCreate),
        (file_batch_create_params.File, VectorStoreFileCreate),
    ],
)
def test_fields_are_those_of_the_client(params: Any, body: type[RequestModel]) -> None:
    assert set(params.__annotations__) - IN_PATH == set(body.model_fields)


def test_purposes_are_those_of_the_client() -> None:
    from openai.types import FilePurpose

    assert set(typing.get_args(FilePurpose)) == set(PURPOSES)
    assert set(file_create_params.FileCreateParams.__annotations__) == {"file", "purpose", "expires_after"}


def test_update_tells_left_out_from_null() -> None:
    assert check(VectorStoreUpdate, {}).changes() == {}
    assert check(VectorStoreUpdate, {"name": None, "expires_after": None, "metadata": None}).changes() == {
        "name": "",
        "expires_days": None,
        "metadata": {},
    }
    given = {"expires_after": {"anchor": "last_active_at", "days": 3}}
    assert check(VectorStoreUpdate, given).changes() == {"expires_days": 3}


@pytest.mark.parametrize(
    ("attributes", "param"),
    [
        ({str(n): n for n in range(17)}, "attributes"),
        ({"k" * 65: 1}, f"attributes.{'k' * 65}"),
        ({"k": "v" * 513}, "attributes.k"),
        ({"k": None}, "attributes.k"),
        ({"k": [1]}, "attributes.k"),
        ([], "attributes"),
    ],
)
def test_bad_attributes(attributes: Any, param: str) -> None:
    with pytest.raises(APIError) as raised:
        check(VectorStoreFileUpdate, {"attributes": attributes})
    assert raised.value.status == 400 and raised.value.param == param


def test_attributes_keep_their_types() -> None:
    given = {"text": "a", "whole": 3, "part": 1.5, "flag": True}
    attributes = check(VectorStoreFileUpdate, {"attributes": given}).attributes
    assert attributes == given and attributes["flag"] is True


@pytest.mark.parametrize("seconds", ["3599", "2592001", "-5000", "5e3", "", "٣٦٠٠", "9" * 5000])
def test_bad_expiry(seconds: str) -> None:
    form = {"purpose": "batch", "expires_after[anchor]": "created_at", "expires_after[seconds]": seconds}
    with pytest.raises(APIError) as raised:
        parse_file_upload(form)
    assert raised.value.param == "expires_after[seconds]"


def test_batch_of_files_with_their_own() -> None:
    static = {"type": "static", "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 50}}
    body = {"files": [{"file_id": "a", "attributes": {"n": 1}}, {"file_id": "b", "chunking_strategy": static}]}
    first, second = check(FileBatchCreate, body).to_add()
    assert (first.file_id, first.attributes, first.chunk_tokens, first.overlap_tokens) == ("a", {"n": 1}, 800, 400)
    assert (second.file_id, second.attributes, second.chunk_tokens, second.overlap_tokens) == ("b", {}, 100, 50)
    static["static"] = {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 51}
    with pytest.raises(APIError) as raised:
        check(FileBatchCreate, body).to_add()
    assert raised.value.param == "files[1].chunking_strategy.static.chunk_overlap_tokens"
