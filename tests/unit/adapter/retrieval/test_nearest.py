from __future__ import annotations

import numpy as np
import pytest

from adapter.generation.encoder import Values
from adapter.retrieval.nearest import Nearest
from adapter.store.vector_chunks import Place


def units(random: np.random.Generator, count: int) -> Values:
    values = random.standard_normal((count, 8)).astype("<f4")
    normed: Values = values / np.linalg.norm(values, axis=1, keepdims=True)
    return normed


@pytest.mark.parametrize("most", [1, 7, 500])
@pytest.mark.parametrize("threshold", [0.0, 0.5])
def test_the_best_chunks_of_all_pages(most: int, threshold: float) -> None:
    random = np.random.default_rng(1)
    queries = units(random, 3)
    chunks: list[tuple[Place, Values]] = [((f"f{n % 5}", n), units(random, 1 + n % 4)) for n in range(200)]
    nearest = Nearest(queries, most, threshold)
    for first in range(0, len(chunks), 33):
        nearest.look([(place, held.tobytes()) for place, held in chunks[first : first + 33]])
    # The definition, chunk by chunk: the best of all windows and queries, and nothing below zero.
    scores = {place: max(0.0, max(float(w @ q) for w in held for q in queries)) for place, held in chunks}
    kept = [(score, place) for place, score in scores.items() if score >= threshold]
    expected = sorted(kept, key=lambda found: (-found[0], found[1]))[:most]
    found = nearest.best()
    assert [place for _, place in found] == [place for _, place in expected]
    np.testing.assert_allclose([score for score, _ in found], [score for score, _ in expected], atol=1e-6)


def test_a_vector_is_nearest_to_itself() -> None:
    queries = units(np.random.default_rng(2), 1)
    nearest = Nearest(queries, 5, 0.0)
    nearest.look([(("a", 0), (-queries).tobytes()), (("a", 1), queries.tobytes())])
    assert [place for _, place in nearest.best()] == [("a", 1), ("a", 0)]
    assert 0.999 < nearest.best()[0][0] <= 1.0
    assert nearest.best()[1][0] == 0.0
