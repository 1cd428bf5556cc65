"""A T5 embedding model (tiny, of random weights) from its files to vectors that the real Triton answers with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tritonclient.grpc as grpc

from build.assemble import prepare
from launcher.state import StateLock
from launcher.triton_server import TritonServer
from tests.support.t5_catalog import ID, write_catalog
from tests.support.t5_oracle import T5Oracle, write_t5

TEXTS = ["t7 t8 t9", "t5", " ".join(f"t{number}" for number in range(2, 59))]


def test_vectors_of_a_t5_model_through_triton(tmp_path: Path) -> None:
    folder = write_t5(tmp_path / "t5")
    catalog = write_catalog(folder)
    repository = prepare([ID], tmp_path / "repository", tmp_path / "cache", catalog=catalog)
    state = tmp_path / "state"
    state.mkdir()
    with StateLock(state), TritonServer([repository], state) as server:
        client = grpc.InferenceServerClient(server.grpc_url.removeprefix("grpc://"))
        given = grpc.InferInput("text", [len(TEXTS), 1], "BYTES")
        given.set_data_from_numpy(np.array([text.encode() for text in TEXTS], np.object_).reshape(-1, 1))
        found = client.infer("sentence-t5", [given]).as_numpy("sentence_embedding")
        client.close()
    oracle = T5Oracle(folder)
    wanted = [oracle.vector([*(int(word[1:]) for word in text.split()), 1]) for text in TEXTS]
    np.testing.assert_allclose(found, wanted, atol=1e-5)
