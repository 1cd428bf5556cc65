"""The ONNX graph itself: vectors of the reference, shapes, padding, and weights that do not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from safetensors.numpy import load_file, save_file

from build.embedding_graph import write_graph
from build.onnx_graph import GraphError
from tests.unit.build.conftest import RealModel
from tokentext.tokenizer import TextTokenizer

REFERENCE = Path(__file__).parents[2] / "data" / "embedding_reference"
TEXTS: list[str] = json.loads((REFERENCE / "texts.json").read_text(encoding="utf-8"))

pytestmark = pytest.mark.timeout(900)  # the weights may have to come first


def session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def run(graph: onnxruntime.InferenceSession, rows: list[list[int]], padding: int = 0) -> np.ndarray:
    width = max(map(len, rows)) + padding
    ids, mask = np.zeros((2, len(rows), width), np.int64)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = row
        mask[index, : len(row)] = 1
    (vectors,) = graph.run(["sentence_embedding"], {"input_ids": ids, "attention_mask": mask})
    return vectors


@pytest.fixture(scope="module")
def graph(embedding_model: RealModel) -> onnxruntime.InferenceSession:
    return session(embedding_model.parts.weights["model.onnx"])


@pytest.fixture(scope="module")
def rows(embedding_model: RealModel) -> list[list[int]]:
    return TextTokenizer(embedding_model.parts.tokenizer).encode_batch(TEXTS, add_special_tokens=True)


def test_the_tokens_are_those_of_the_reference(rows: list[list[int]]) -> None:
    assert [len(row) for row in rows] == np.load(REFERENCE / "vectors.npz")["lengths"].tolist()
    assert max(map(len, rows)) == 256, "the set goes to the limit"


def test_vectors_are_those_of_sentence_transformers(graph: onnxruntime.InferenceSession, rows: list[list[int]]) -> None:
    reference = np.load(REFERENCE / "vectors.npz")["vectors"]
    found = np.concatenate([run(graph, [row]) for row in rows])
    cosines = (found * reference).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(reference, axis=1)
    assert cosines.min() > 0.9999
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)


def test_padding_and_company_change_nothing(graph: onnxruntime.InferenceSession, rows: list[list[int]]) -> None:
    singles = np.concatenate([run(graph, [row]) for row in rows])
    np.testing.assert_allclose(run(graph, rows, padding=3), singles, atol=1e-5)


def test_the_tokenizer_neither_cuts_nor_pads(embedding_model: RealModel) -> None:
    content = json.loads((embedding_model.parts.tokenizer / "tokenizer.json").read_text(encoding="utf-8"))
    assert content["truncation"] is None and content["padding"] is None


def test_form_of_the_graph(embedding_model: RealModel) -> None:
    model = onnx.load(embedding_model.parts.weights["model.onnx"])
    onnx.checker.check_model(model, full_check=True)
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 17)]
    shapes = {
        value.name: [dimension.dim_param or dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
        for value in [*model.graph.input, *model.graph.output]
    }
    assert shapes == {
        "input_ids": ["batch", "sequence"],
        "attention_mask": ["batch", "sequence"],
        "sentence_embedding": ["batch", 384],
    }
    kinds = {value.name: value.type.tensor_type.elem_type for value in model.graph.input}
    assert set(kinds.values()) == {onnx.TensorProto.INT64}
    properties = {item.key: item.value for item in model.metadata_props}
    assert properties == {"vocab_size": "30522", "max_positions": "512"}
    assert "encoder.layer.5.attention.self.probabilities" in {node.name for node in model.graph.node}


def tiny(folder: Path, **changes: Any) -> tuple[Path, Path]:
    """Weights and config.json of a tiny random encoder."""
    config = {
        "model_type": "bert",
        "hidden_act": "gelu",
        "hidden_size": 8,
        "num_attention_heads": 2,
        "num_hidden_layers": 1,
        "intermediate_size": 12,
        "max_position_embeddings": 16,
        "vocab_size": 64,
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-12,
    }
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (64, 8),
        "embeddings.position_embeddings.weight": (16, 8),
        "embeddings.token_type_embeddings.weight": (2, 8),
    }
    linear = {"attention.self.query": (8, 8), "attention.self.key": (8, 8), "attention.self.value": (8, 8)}
    linear |= {"attention.output.dense": (8, 8), "intermediate.dense": (12, 8), "output.dense": (8, 12)}
    for name, shape in linear.items():
        shapes |= {f"encoder.layer.0.{name}.weight": shape, f"encoder.layer.0.{name}.bias": shape[:1]}
    for name in ("embeddings", "encoder.layer.0.attention.output", "encoder.layer.0.output"):
        shapes |= {f"{name}.LayerNorm.{part}": (8,) for part in ("weight", "bias")}
    source = np.random.default_rng(3)
    tensors = {name: source.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    return folder / "model.safetensors", folder / "config.json"


def test_large_weights_go_to_a_file_of_their_own_that_is_found_through_links(tmp_path: Path) -> None:
    weights, config = tiny(tmp_path)
    for name in ("inside", "beside", "linked"):
        (tmp_path / name).mkdir()
    inside = write_graph(weights, config, tmp_path / "inside")
    beside = write_graph(weights, config, tmp_path / "beside", embed_limit=0)
    assert sorted(path.name for path in (tmp_path / "beside").iterdir()) == ["model.onnx", "model.onnx.data"]
    # As a repository holds them: links side by side.
    for path in (tmp_path / "beside").iterdir():
        (tmp_path / "linked" / path.name).symlink_to(path)
    wanted = run(session(inside), [[1, 2, 3], [4, 5]])
    np.testing.assert_array_equal(run(session(beside), [[1, 2, 3], [4, 5]]), wanted)
    np.testing.assert_array_equal(run(session(tmp_path / "linked" / "model.onnx"), [[1, 2, 3], [4, 5]]), wanted)


def test_a_prefix_and_half_precision_are_understood(tmp_path: Path) -> None:
    weights, config = tiny(tmp_path)
    for name in ("plain", "half"):
        (tmp_path / name).mkdir()
    plain = run(session(write_graph(weights, config, tmp_path / "plain")), [[1, 2, 3]])
    tensors = {f"bert.{name}": tensor.astype(np.float16) for name, tensor in load_file(weights).items()}
    save_file(tensors, weights)
    half = run(session(write_graph(weights, config, tmp_path / "half")), [[1, 2, 3]])
    np.testing.assert_allclose(half, plain, atol=1e-2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "gpt2"}, "model_type is 'gpt2'"),
        ({"hidden_act": "relu"}, "hidden_act is 'relu'"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type"),
        ({"num_attention_heads": 3}, "no multiple of 3 heads"),
        ({"num_hidden_layers": 2}, r"no encoder\.layer\.1"),
        ({"vocab_size": 65}, r"word_embeddings\.weight is \[64, 8\], \[65, 8\] is expected"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    weights, config = tiny(tmp_path, **changes)
    with pytest.raises(GraphError, match=message):
        write_graph(weights, config, tmp_path)
    assert not (tmp_path / "model.onnx").exists()


def test_missing_keys_and_files_that_are_no_weights_are_refused(tmp_path: Path) -> None:
    weights, config = tiny(tmp_path)
    config.write_text('{"model_type": "bert"}')
    with pytest.raises(GraphError, match="hidden_size is missing"):
        write_graph(weights, config, tmp_path)
    weights, config = tiny(tmp_path)
    weights.write_bytes(b"no weights at all")
    with pytest.raises(GraphError, match=r"model\.safetensors"):
        write_graph(weights, config, tmp_path)


def test_the_first_token_instead_of_the_mean(tmp_path: Path) -> None:
    """Its vector is taken from the very hidden states that the mean is made of."""
    weights, config = tiny(tmp_path)
    for name in ("mean", "cls"):
        (tmp_path / name).mkdir()
    mean = write_graph(weights, config, tmp_path / "mean")
    first = write_graph(weights, config, tmp_path / "cls", pooling="cls")
    model = onnx.load(mean)
    hidden = next(node.input[0] for node in model.graph.node if node.output[0] == "pooling.weighted")
    model.graph.output.append(onnx.helper.make_tensor_value_info(hidden, onnx.TensorProto.FLOAT, None))
    shown = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    ids = np.array([[1, 2, 3], [4, 5, 0]], np.int64)
    mask = np.array([[1, 1, 1], [1, 1, 0]], np.int64)
    states = shown.run([hidden], {"input_ids": ids, "attention_mask": mask})[0]
    wanted = states[:, 0] / np.linalg.norm(states[:, 0], axis=1, keepdims=True)
    found = run(session(first), [[1, 2, 3], [4, 5]])
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert np.abs(found - run(session(mean), [[1, 2, 3], [4, 5]])).max() > 1e-3
