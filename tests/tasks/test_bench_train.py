"""What the ways to train that are timed compute; no test looks at the time that they take."""

from __future__ import annotations

import json

import pytest
import torch
from tests.model_folder import make_parts

from wordgaze.tasks.bench_models import photos_to_bench
from wordgaze.tasks.bench_train import PAIRS, TrainBench, TrainBenchOptions, TrainingWay


def make_bench(folder, photos=2):
    options = TrainBenchOptions(batch_size=photos, captions_per_photo=3, rounds=1)
    return TrainBench("small", make_parts(), photos_to_bench(None, photos, folder), options, folder, "cpu")


def test_there_is_a_row_for_each_way_and_a_ratio_in_each_pair(tmp_path):
    told = []
    values = make_bench(tmp_path).measure(told.append)
    rows = json.loads(json.dumps(values))["rows"]
    assert [row["way"] for row in rows] == [row.way for row in told] == [way.name for pair in PAIRS for way in pair]
    assert [row["ratio"] is None for row in rows] == [True, False, True, False]
    for row in rows:
        total = row["load_seconds"] + row["compute_seconds"]
        assert row["photos_per_second"] == pytest.approx(2 / total)
    assert values["settings"] == {"batch_size": 2, "captions_per_photo": 3, "rounds": 1}


@pytest.mark.parametrize("pair", PAIRS, ids=["cached", "shared"])
def test_the_ways_of_a_pair_learn_the_same(tmp_path, pair):
    bench = make_bench(tmp_path)
    bench.precision = "float32"
    gradients = []
    for way in pair:
        bench.model.zero_grad()
        torch.manual_seed(0)
        TrainingWay(bench, way).backward()
        named = bench.model.named_parameters()
        gradients.append({name: tensor.grad.clone() for name, tensor in named if tensor.grad is not None})
    ours, theirs = gradients
    assert set(ours) == set(theirs)
    assert any(name.startswith("encoder.") for name in ours) is not pair[0].frozen
    for name, gradient in ours.items():
        # A cache rounds to float16; softmax takes no notice of the keys' biases.
        if not name.endswith("key.bias"):
            assert torch.allclose(gradient, theirs[name], rtol=0.05, atol=0.02 * float(gradient.abs().max())), name
