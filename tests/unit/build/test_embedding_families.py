"""Embedding graphs of the families whose published weights are not at hand, against a forward pass in numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from safetensors.numpy import load_file, save_file

from build.embedding_graph import write_graph
from tests.support.cross_encoder_oracle import Oracle
from tests.support.tiny_cross_encoder import write_cross_encoder

ROWS = [[0, 5, 9, 4, 17, 2], [0, 2], [0, 21, 30, 2]]


@pytest.mark.parametrize("prefix", ["", "roberta."], ids=["plain", "prefixed"])
@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("family", ["roberta", "xlm-roberta"])
def test_vectors_of_roberta(tmp_path: Path, family: str, pooling: str, prefix: str) -> None:
    folder = write_cross_encoder(tmp_path, "xlm-roberta", model_type=family)
    oracle = Oracle(folder)
    encoder = {
        name.replace("roberta.", prefix): tensor
        for name, tensor in load_file(folder / "model.safetensors").items()
        if name.startswith("roberta.")
    }
    save_file(encoder, tmp_path / "encoder.safetensors")
    path = write_graph(tmp_path / "encoder.safetensors", folder / "config.json", tmp_path, pooling=pooling)
    ids, mask = np.zeros((2, len(ROWS), max(map(len, ROWS)) + 2), np.int64)
    for index, row in enumerate(ROWS):
        ids[index, : len(row)], mask[index, : len(row)] = row, 1
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (found,) = session.run(["sentence_embedding"], {"input_ids": ids, "attention_mask": mask})
    for row, vector in zip(ROWS, found, strict=True):
        hidden = oracle.hidden(row, [0] * len(row))
        wanted = hidden.mean(0) if pooling == "mean" else hidden[0]
        np.testing.assert_allclose(vector, wanted / np.linalg.norm(wanted), atol=1e-5)
