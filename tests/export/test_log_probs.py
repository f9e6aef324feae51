"""NumPy's log-probabilities do what torch's do, which searches are tested with."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wordgaze.export.log_probs import NumpyLogProbs, top
from wordgaze.generation.options import GenerationOptions
from wordgaze.generation.stepper import NEVER, LogProbs
from wordgaze.generation.torch_stepper import TorchLogProbs

ROWS, VOCAB = 6, 300


@pytest.fixture
def both() -> tuple[TorchLogProbs, NumpyLogProbs]:
    logits = torch.randn(ROWS, VOCAB, generator=torch.Generator().manual_seed(0))
    log_probs = logits.mul(3).log_softmax(dim=1)
    return TorchLogProbs(log_probs), NumpyLogProbs(log_probs.numpy().copy())


def values(log_probs: LogProbs) -> np.ndarray:
    return np.asarray(log_probs._log_probs)  # type: ignore[attr-defined]


def test_what_is_forbidden(both: tuple[TorchLogProbs, NumpyLogProbs]) -> None:
    everything = np.array([(row, token) for row in (1, 4) for token in range(VOCAB)])
    rows, row_ids = np.concatenate(([[0, 7], [0, 7], [2, 299]], everything)).T
    before = values(both[0]).copy()
    for log_probs in both:
        log_probs.forbid([0, 2], rows, row_ids, 2)
    assert np.array_equal(values(both[0]), values(both[1]))
    assert (values(both[1])[1] > NEVER).nonzero()[0].tolist() == [2]  # with nothing left, the row ends
    assert values(both[1])[4, 2] == before[4, 2] and values(both[1])[0, 2] == NEVER


def test_nothing_is_forbidden(both: tuple[TorchLogProbs, NumpyLogProbs]) -> None:
    before, nothing = values(both[1]).copy(), np.empty(0, np.int64)
    both[1].forbid([], nothing, nothing, 2)
    assert np.array_equal(values(both[1]), before)


def test_likeliest(both: tuple[TorchLogProbs, NumpyLogProbs]) -> None:
    (torch_ids, torch_values), (ids, log_probs) = (log_probs.likeliest() for log_probs in both)
    assert np.array_equal(torch_ids, ids) and np.array_equal(torch_values, log_probs)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 0.3},
        {"top_k": 5},
        {"top_p": 0.7},
        {"top_k": 40, "top_p": 0.9, "temperature": 2.0},
        {"top_p": 1e-30},
    ],
    ids=str,
)
def test_samples(both: tuple[TorchLogProbs, NumpyLogProbs], options: dict[str, float]) -> None:
    rows, row_ids = np.array([[row, token] for row in range(ROWS) for token in range(0, VOCAB, 3)]).T
    for draw in (0.0, 0.001, 0.37, 0.5, 0.93, 1 - 2**-53):
        drawn = []
        for log_probs in both:
            log_probs.forbid([1], rows, row_ids, 2)
            drawn.append(log_probs.sample(np.full(ROWS, draw), GenerationOptions(sample=True, **options)))  # type: ignore[arg-type]
        assert np.array_equal(drawn[0][0], drawn[1][0]) and np.array_equal(drawn[0][1], drawn[1][1])


@pytest.mark.parametrize("beams", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 4, 200, 5000])
def test_continuations(both: tuple[TorchLogProbs, NumpyLogProbs], beams: int, count: int) -> None:
    totals = np.random.default_rng(0).normal(size=(ROWS // beams, beams)).astype(np.float32)
    theirs, ours = (log_probs.continuations(totals, count) for log_probs in both)
    for name in ("totals", "parents", "ids", "log_probs"):
        assert np.array_equal(getattr(theirs, name), getattr(ours, name)), name


@pytest.mark.parametrize("length", [3, 64, 200, 6400, 6401])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_of_equal_values_the_first_ones_are_the_top(length: int, count: int) -> None:
    values = np.random.default_rng(length).integers(0, length // 2, (20, length)).astype(np.float32)
    values[3] = NEVER
    best, positions = top(values, count)
    order = np.argsort(-values, axis=1, kind="stable")[:, :count]
    assert np.array_equal(best, np.take_along_axis(values, order, axis=1))
    assert np.array_equal(best, np.take_along_axis(values, positions, axis=1))
    assert all(len(set(row)) == count for row in positions.tolist())
