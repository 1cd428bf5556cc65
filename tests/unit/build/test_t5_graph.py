"""The graph of T5's encoder (sentence-t5) against a forward pass in numpy; padding, lengths, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from safetensors.numpy import load_file, save_file

from build.embedding_graph import dimensions, write_graph
from build.onnx_graph import GraphError
from build.t5_graph import distance_buckets
from tests.support.t5_oracle import T5Oracle, write_t5

ROWS = [[7, 8, 9, 1], [5, 1], [*range(2, 59), 1], [3] * 30]  # longer than the furthest distance, too


def graph_of(folder: Path) -> onnxruntime.InferenceSession:
    dense = folder / "dense.safetensors"
    path = write_graph(
        folder / "model.safetensors", folder / "config.json", folder, dense_weights=dense if dense.exists() else None
    )
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def run(graph: onnxruntime.InferenceSession, rows: Sequence[Sequence[int]], padding: int = 0) -> np.ndarray:
    width = max(map(len, rows)) + padding
    ids, mask = np.zeros((2, len(rows), width), np.int64)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = row
        mask[index, : len(row)] = 1
    (vectors,) = graph.run(["sentence_embedding"], {"input_ids": ids, "attention_mask": mask})
    return vectors


@pytest.mark.parametrize(
    ("gated", "dense", "words"),
    [(False, 24, "shared.weight"), (True, 24, "encoder.embed_tokens.weight"), (False, 0, "shared.weight")],
)
def test_vectors_are_those_of_the_oracle(tmp_path: Path, gated: bool, dense: int, words: str) -> None:
    graph = graph_of(write_t5(tmp_path, gated=gated, dense=dense, words=words))
    oracle = T5Oracle(tmp_path)
    wanted = np.array([oracle.vector(row) for row in ROWS])
    assert wanted.shape == (4, dense or 32)
    assert (wanted @ wanted.T)[0, 1] < 0.99, "the model tells the texts apart"
    np.testing.assert_allclose(np.concatenate([run(graph, [row]) for row in ROWS]), wanted, atol=1e-5)
    np.testing.assert_allclose(run(graph, ROWS, padding=5), wanted, atol=1e-5)


def test_the_distance_matters(tmp_path: Path) -> None:
    """Otherwise the test above could not see a wrong bias."""
    write_t5(tmp_path)
    before = T5Oracle(tmp_path).vector(ROWS[0])
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"][:] = 0
    save_file(tensors, tmp_path / "model.safetensors")
    assert before @ T5Oracle(tmp_path).vector(ROWS[0]) < 0.999


@pytest.mark.parametrize(("buckets", "furthest"), [(32, 128), (16, 20), (8, 64)])
def test_buckets_are_those_of_the_definition(tmp_path: Path, buckets: int, furthest: int) -> None:
    write_t5(tmp_path)
    oracle = T5Oracle(tmp_path)
    oracle.config.update(relative_attention_num_buckets=buckets, relative_attention_max_distance=furthest)
    found = distance_buckets(furthest, buckets)
    for distance in range(-furthest, furthest + 1):
        assert found[distance + furthest] == oracle.bucket(500, 500 + distance), distance
    for beyond in (furthest + 1, 10 * furthest):
        assert oracle.bucket(0, beyond) == found[-1] and oracle.bucket(beyond, 0) == found[0]


def test_form_of_the_graph(tmp_path: Path) -> None:
    graph_of(write_t5(tmp_path))
    model = onnx.load(tmp_path / "model.onnx")
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 17)]
    assert {property.key: property.value for property in model.metadata_props} == {"vocab_size": "60"}
    assert [value.name for value in model.graph.input] == ["input_ids", "attention_mask"]
    assert dimensions(tmp_path / "config.json", tmp_path / "dense.safetensors") == 24
    assert dimensions(tmp_path / "config.json") == 32


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("feed_forward_proj", "gated-silu", "feed_forward_proj is 'gated-silu'; known: relu, gated-gelu"),
        ("d_kv", None, "d_kv is missing"),
        ("num_layers", 3, "the weights have no encoder.block.2"),
        ("model_type", "mt5", "model_type is 'mt5'; known: 'bert', 'roberta', 'xlm-roberta', 't5'"),
    ],
)
def test_what_is_no_t5_is_refused(tmp_path: Path, key: str, value: object, message: str) -> None:
    write_t5(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config = {name: found for name, found in {**config, key: value}.items() if found is not None}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(GraphError, match=message):
        graph_of(tmp_path)


def test_a_dense_layer_of_another_width_is_refused(tmp_path: Path) -> None:
    write_t5(tmp_path)
    save_file({"linear.weight": np.zeros((8, 16), np.float32)}, tmp_path / "dense.safetensors")
    with pytest.raises(GraphError, match="the dense layer takes 16 numbers, the encoder gives 32"):
        graph_of(tmp_path)
