"""What a Triton configuration says of a model, and what is said about one that makes no sense."""

from __future__ import annotations

import pytest
from tritonclient.grpc import model_config_pb2

from adapter.triton.model import Kind, ModelConfigError, ModelDescription, describe, with_adapters
from tests.unit.adapter.served import ENGINE_INPUTS, engine_config


def described(**changes: str | None) -> ModelDescription:
    description = describe(engine_config(**changes))  # type: ignore[arg-type]
    assert description is not None
    return description


def test_a_chat_model() -> None:
    model = described(tokenizer_dir="/t", tokenizer_sha256="aa", tokenizer_model="small_preprocessing")
    assert (model.id, model.kind, model.triton_name) == ("maker/small:1b", Kind.CHAT, "small_engine")
    assert (model.owned_by, model.created, model.family) == ("maker", 1700000000, "small")
    assert (model.context_length, model.vocab_size, model.end_ids) == (64, 300, (7, 8, 9))
    assert model.inputs == frozenset(ENGINE_INPUTS)
    assert "finish_reason" in model.outputs
    assert (model.tokenizer_dir, model.tokenizer_sha256, model.tokenizer_model) == ("/t", "aa", "small_preprocessing")


def test_an_embedding_model() -> None:
    model = described(served_kind="embedding", dimensions="384", vocab_size=None, end_ids=None, matryoshka="True")
    assert (model.kind, model.dimensions, model.matryoshka) == (Kind.EMBEDDING, 384, True)
    assert described().matryoshka is False


@pytest.mark.parametrize(("value", "activation"), [(None, "sigmoid"), ("sigmoid", "sigmoid"), ("none", "none")])
def test_a_reranker(value: str | None, activation: str) -> None:
    model = described(served_kind="reranker", vocab_size=None, end_ids=None, score_activation=value)
    assert (model.kind, model.dimensions, model.score_activation) == (Kind.RERANKER, 0, activation)


@pytest.mark.parametrize("served_id", [None, ""])
def test_a_model_that_is_not_served(served_id: str | None) -> None:
    assert describe(engine_config(served_id=served_id, context_length="nonsense")) is None
    assert describe(model_config_pb2.ModelConfig(name="preprocessing")) is None


@pytest.mark.parametrize(("size", "batched", "largest"), [(0, False, 1), (1, True, 1), (64, True, 64)])
def test_batching(size: int, batched: bool, largest: int) -> None:
    model = describe(engine_config(max_batch_size=size))
    assert model is not None
    assert (model.batched, model.max_batch_size) == (batched, largest)


def test_what_may_be_missing() -> None:
    model = described(served_owned_by=None, served_created=None, family=None, end_ids=None, engine=None)
    assert (model.owned_by, model.created, model.family, model.end_ids) == ("tritongate", 0, "", ())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("served_kind", None),
        ("served_kind", "speech"),
        ("served_kind", "Chat"),
        ("context_length", None),
        ("context_length", ""),
        ("context_length", "0"),
        ("context_length", "-5"),
        ("context_length", "8k"),
        ("context_length", "1.5"),
        ("context_length", "²"),
        ("context_length", "9" * 30),
        ("context_length", "9" * 5000),
        ("context_length", str(2**31)),
        ("vocab_size", None),
        ("vocab_size", "0"),
        ("vocab_size", str(2**31 - 1)),
        ("served_created", "yesterday"),
        ("score_activation", "softmax"),
        ("end_ids", "1,x"),
        ("end_ids", "1;2"),
        ("end_ids", "-1"),
        ("end_ids", "1,²"),
        ("end_ids", str(2**31)),
    ],
)
def test_what_makes_no_sense(key: str, value: str | None) -> None:
    with pytest.raises(ModelConfigError) as caught:
        described(**{key: value})
    assert key in str(caught.value) and "small_engine" in str(caught.value)
    if value:
        assert value[:10] in str(caught.value)


@pytest.mark.parametrize("value", [None, "0"])
def test_an_embedding_model_without_dimensions(value: str | None) -> None:
    with pytest.raises(ModelConfigError, match="dimensions"):
        described(served_kind="embedding", dimensions=value)


@pytest.mark.parametrize("end_ids", ["7", " 7 , 8,", "7,8,"])
def test_end_ids_are_read_leniently(end_ids: str) -> None:
    assert described(end_ids=end_ids).end_ids[0] == 7


def test_the_fingerprint_changes_with_what_changes_the_text() -> None:
    same = described().fingerprint
    assert same.startswith("fp_") and same == described(served_owned_by="x", context_length="32").fingerprint
    changed = [described(engine="test 2").fingerprint, described(weights_sha256="abd").fingerprint]
    renamed = describe(engine_config("other_engine"))
    assert renamed is not None
    assert len({same, *changed, renamed.fingerprint}) == 4


def test_filling_in_the_middle() -> None:
    assert describe(engine_config()).fim is None  # type: ignore[union-attr]
    triple = {"fim_prefix": "<p>", "fim_suffix": "<s>", "fim_middle": "<m>"}
    assert describe(engine_config(**triple)).fim == ("<p>", "<s>", "<m>")  # type: ignore[union-attr]
    for name in triple:
        with pytest.raises(ModelConfigError, match="fim_prefix, fim_suffix, fim_middle"):
            describe(engine_config(**{**triple, name: None}))


def test_adapters_are_models_beside_theirs() -> None:
    said = '{"2": {"name": "sql", "path": "/a"}, "1": {"name": "chat.v2", "path": "/b", "scale": 0.5, "sha256": "aa"}}'
    model = describe(engine_config(lora_adapters=said))
    assert model is not None
    base, *adapters = with_adapters(model)
    assert base == model and (base.parent, base.lora_task_id) == ("", 0)
    assert [(one.id, one.parent, one.lora_task_id) for one in adapters] == [
        ("maker/small:1b:chat.v2", "maker/small:1b", 1),
        ("maker/small:1b:sql", "maker/small:1b", 2),
    ]
    assert {one.triton_name for one in adapters} == {"small_engine"}
    assert base.fingerprint == described().fingerprint  # it answers as before
    assert len({one.fingerprint for one in (base, *adapters)}) == 3
    # Where it lies makes no other adapter of it; its content and its factor do.
    moved, changed = said.replace('"/b"', '"/c"'), said.replace('"aa"', '"ab"')
    assert describe(engine_config(lora_adapters=moved)) == model
    other = describe(engine_config(lora_adapters=changed))
    assert other is not None and with_adapters(other)[1].fingerprint != adapters[0].fingerprint
    assert with_adapters(described()) == [described()]


@pytest.mark.parametrize(
    "said",
    [
        *["x", "[]", "{}", "1", '{"1": "sql"}', '{"1": {}}', '{"one": {"name": "sql"}}', '{"1": {"name": "a:b"}}'],
        *['{"1": {"name": ""}}', '{"1": {"name": "a"}, "2": {"name": "a"}}', '{"0": {"name": "a"}}'],
        *['{"-1": {"name": "a"}}', f'{{"{2**64}": {{"name": "a"}}}}'],
    ],
)
def test_adapters_that_make_no_sense(said: str) -> None:
    with pytest.raises(ModelConfigError, match="small_engine: parameter lora_adapters is"):
        describe(engine_config(lora_adapters=said))


def test_adapters_that_the_engine_cannot_be_asked_for() -> None:
    others = [name for name in ENGINE_INPUTS if name != "lora_task_id"]
    with pytest.raises(ModelConfigError, match="lora_task_id"):
        describe(engine_config(inputs=others, lora_adapters='{"1": {"name": "sql"}}'))
