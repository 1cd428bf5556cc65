"""The ONNX graph of a cross-encoder against a forward pass in numpy; padding, segments, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from safetensors.numpy import load_file, save_file

from build.onnx_graph import GraphError
from build.reranker_graph import score_activation, write_graph
from tests.support.cross_encoder_oracle import Oracle
from tests.support.tiny_cross_encoder import CONTEXT, write_cross_encoder

QUERY = "Where do penguins live?"
DOCUMENTS = [
    "Penguins live in the southern hemisphere.",
    "A recipe for bread.",
    "a",
    "The birds of Antarctica swim well, and the cold sea feeds them. " * 2,
]
FAMILIES = ("bert", "xlm-roberta")


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cross_encoder(tmp_path_factory.mktemp("model"), request.param)


@pytest.fixture(scope="module")
def graph(model: Path) -> onnxruntime.InferenceSession:
    path = write_graph(model / "model.safetensors", model / "config.json", model)
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def run(
    graph: onnxruntime.InferenceSession, rows: Sequence[tuple[list[int], list[int]]], padding: int = 0
) -> np.ndarray:
    width = max(len(ids) for ids, _ in rows) + padding
    inputs = {
        name: np.zeros((len(rows), width), np.int64) for name in ("input_ids", "attention_mask", "token_type_ids")
    }
    for index, (ids, types) in enumerate(rows):
        for name, values in (("input_ids", ids), ("attention_mask", [1] * len(ids)), ("token_type_ids", types)):
            inputs[name][index, : len(ids)] = values
    declared = {tensor.name for tensor in graph.get_inputs()}
    (scores,) = graph.run(["score"], {name: value for name, value in inputs.items() if name in declared})
    assert scores.shape == (len(rows), 1) and scores.dtype == np.float32
    return scores[:, 0]


def test_scores_are_those_of_the_oracle(model: Path, graph: onnxruntime.InferenceSession) -> None:
    oracle = Oracle(model)
    rows = [oracle.encode(QUERY, document, CONTEXT) for document in DOCUMENTS]
    wanted = oracle.logits(QUERY, DOCUMENTS, CONTEXT)
    assert np.ptp(wanted) > 0.3, "the model tells the documents apart"
    np.testing.assert_allclose(np.concatenate([run(graph, [row]) for row in rows]), wanted, atol=1e-4)
    np.testing.assert_allclose(run(graph, rows[:3], padding=3), wanted[:3], atol=1e-4)


def test_roberta_is_laid_out_like_xlm_roberta(tmp_path: Path) -> None:
    model = write_cross_encoder(tmp_path, "xlm-roberta", model_type="roberta")
    path = write_graph(tmp_path / "model.safetensors", tmp_path / "config.json", model)
    row = Oracle(model).encode(QUERY, DOCUMENTS[0])
    found = run(onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]), [row])
    np.testing.assert_allclose(found, [Oracle(model).logit(*row)], atol=1e-4)


def test_the_longest_pair_that_the_positions_have_room_for(model: Path, graph: onnxruntime.InferenceSession) -> None:
    oracle = Oracle(model)
    row = oracle.encode(QUERY, "word " * 100, longest=CONTEXT)
    assert len(row[0]) == CONTEXT
    np.testing.assert_allclose(run(graph, [row]), [oracle.logit(*row)], atol=1e-4)


def test_segments_and_places_reach_the_score(tmp_path: Path) -> None:
    model = write_cross_encoder(tmp_path)
    graph = onnxruntime.InferenceSession(
        str(write_graph(tmp_path / "model.safetensors", tmp_path / "config.json", model))
    )
    ids, types = Oracle(model).encode(QUERY, DOCUMENTS[0])
    assert set(types) == {0, 1}
    turned = [ids[0], *ids[1:-1][::-1], ids[-1]]
    plain, one_segment, other_order = run(graph, [(ids, types), (ids, [0] * len(ids)), (turned, types)])
    assert abs(plain - one_segment) > 1e-2 and abs(plain - other_order) > 1e-2


def test_form_of_the_graph(model: Path, graph: onnxruntime.InferenceSession) -> None:
    written = onnx.load(model / "model.onnx")
    onnx.checker.check_model(written, full_check=True)
    bert = Oracle(model).config["model_type"] == "bert"
    names = [tensor.name for tensor in graph.get_inputs()]
    assert names == ["input_ids", "attention_mask", *(["token_type_ids"] if bert else [])]
    properties = {item.key: int(item.value) for item in written.metadata_props}
    assert properties["max_positions"] == (80 if bert else CONTEXT)
    assert properties.get("type_vocab_size") == (2 if bert else None)


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("bert", {"id2label": {"0": "no", "1": "yes"}}, "the model has 2 labels; a reranker has one"),
        ("bert", {"id2label": None, "num_labels": 3}, "the model has 3 labels"),
        ("bert", {"model_type": "deberta-v2"}, "model_type is 'deberta-v2'"),
        ("bert", {"hidden_act": "relu"}, "hidden_act is 'relu'"),
        ("bert", {"type_vocab_size": 3}, r"token_type_embeddings\.weight is \[2, 32\]"),
        ("xlm-roberta", {"max_position_embeddings": 514}, r"position_embeddings\.weight is \[66, 32\]"),
        ("xlm-roberta", {"hidden_size": "wide"}, "config.json: .*wide"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(
    tmp_path: Path, family: str, changes: dict[str, Any], message: str
) -> None:
    write_cross_encoder(tmp_path, family, **changes)
    with pytest.raises(GraphError, match=message):
        write_graph(tmp_path / "model.safetensors", tmp_path / "config.json", tmp_path)
    assert not (tmp_path / "model.onnx").exists()


@pytest.mark.parametrize(
    ("missing", "message"),
    [("bert.pooler.dense.weight", r"no bert\.pooler\.dense\.weight"), ("classifier.bias", r"no classifier\.bias")],
)
def test_an_encoder_without_its_head_is_no_reranker(tmp_path: Path, missing: str, message: str) -> None:
    write_cross_encoder(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors[missing]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(GraphError, match=message):
        write_graph(tmp_path / "model.safetensors", tmp_path / "config.json", tmp_path)


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, "sigmoid"),
        ({"sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"}, "none"),
        ({"sbert_ce_default_activation_function": None}, "sigmoid"),
        ({"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity", "version": "5.0"}}, "none"),
        (
            {
                "sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Sigmoid"},
                "sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity",
            },
            "sigmoid",
        ),
    ],
)
def test_the_activation_is_what_the_makers_say(tmp_path: Path, changes: dict[str, Any], wanted: str) -> None:
    write_cross_encoder(tmp_path, **changes)
    assert score_activation(tmp_path / "config.json") == wanted


def test_another_activation_is_refused(tmp_path: Path) -> None:
    content = {"sbert_ce_default_activation_function": "torch.nn.modules.activation.Tanh"}
    write_cross_encoder(tmp_path, **content)
    with pytest.raises(GraphError, match=r"activation is 'torch\.nn\.modules\.activation\.Tanh'"):
        score_activation(tmp_path / "config.json")
