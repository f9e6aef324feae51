"""Compares CIDEr with pycocoevalcap's on the same words: speed, and the largest difference.

python -m scripts.experiments.benchmark_cider [--references FILE --results FILE] [--rounds N] [--json OUT]

By default 5,000 captions of a published system against 25,010 references of COCO. Times are those of the fastest of N
rounds. "prepared": the references are prepared once and reused, as while training; "with preparation": all of it, as
pycocoevalcap does each time. "step": of self-critical training of the bundled model, 5 captions of each of 32 photos
(noise: what is in them costs nothing); "reward": what of it goes into scoring, tokenization included.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scripts import SHARED_DATA
from scripts.common.arguments import check_files, script_parser
from scripts.common.timing import fastest, timed
from wordgaze.evaluation.cider import CiderD
from wordgaze.evaluation.ptb import tokenize_all
from wordgaze.files import write_text
from wordgaze.folder import load_folder
from wordgaze.hub import bundled_folder
from wordgaze.tasks.evaluate import reference_photos, results_of
from wordgaze.training.config import DataOptions, TrainOptions
from wordgaze.training.dataset import TrainingBatch
from wordgaze.training.devices import is_bfloat16
from wordgaze.training.module import disable_fused_attention
from wordgaze.training.objectives import CiderReward
from wordgaze.training.self_critical import SelfCriticalStep

RESULTS = SHARED_DATA / "results"
PHOTOS, SAMPLES = 32, 5  # of a step of self-critical training


def measure(references: Path, results: Path, rounds: int) -> dict[str, Any]:
    """Return seconds, ratios and the largest difference of any photo's score."""
    from pycocoevalcap.cider.cider import Cider

    photos = {photo.photo_id: photo for photo in reference_photos(references)}
    candidates, _ = results_of(results, photos)
    words = iter(tokenize_all(caption for photo in photos.values() for caption in photo.captions))
    ours = {photo_id: [next(words) for _ in photo.captions] for photo_id, photo in photos.items()}
    captions = dict(zip(photos, tokenize_all(candidates[photo_id] for photo_id in photos), strict=True))
    theirs = {photo_id: [" ".join(group) for group in groups] for photo_id, groups in ours.items()}
    their_captions = {photo_id: [" ".join(caption)] for photo_id, caption in captions.items()}

    their_time, (_, their_scores) = fastest(rounds, lambda: Cider().compute_score(theirs, their_captions))
    whole_time, _ = fastest(rounds, lambda: CiderD(ours).score(captions))
    prepared = CiderD(ours)
    prepared_time, (mean, our_scores) = fastest(rounds, lambda: prepared.score(captions))
    step_time, reward_time = time_steps([photo.captions for photo in photos.values()], rounds)
    return {
        "captions": len(captions),
        "references": sum(map(len, ours.values())),
        "CIDEr": mean,
        "largest_difference": float(np.abs(np.array(our_scores) - np.array(their_scores)).max()),
        "seconds": {
            "pycocoevalcap": their_time,
            "prepared": prepared_time,
            "with_preparation": whole_time,
            "step": step_time,
            "reward": reward_time,
        },
        "reward_share": reward_time / step_time,
        "times_faster": {
            "prepared": their_time / prepared_time,
            "with_preparation": their_time / whole_time,
        },
    }


def time_steps(references: list[tuple[str, ...]], rounds: int) -> tuple[float, float]:
    """Return the median seconds of a self-critical step, and of scoring in it."""
    parts = load_folder(bundled_folder())
    train = TrainOptions(objective="scst", initial_model="bundled", samples=SAMPLES)
    cider, scoring, steps = CiderReward(references), [], []

    def timed_reward(*arguments: Any) -> np.ndarray:
        seconds, rewards = timed(lambda: cider(*arguments))
        scoring.append(seconds)
        return rewards

    model = parts.model.eval()
    disable_fused_attention(model)  # as training does on a CPU
    step = SelfCriticalStep(model, parts.tokenizer, timed_reward, train, DataOptions().max_length)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0)

    def take_step(batch: TrainingBatch) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            loss, _ = step.loss(batch, model.encode(batch.inputs), epoch=0)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    bfloat16 = is_bfloat16("auto", "cpu")
    none = torch.zeros(PHOTOS, 0, dtype=torch.long)
    for number in range(rounds + 1):
        torch.manual_seed(number)
        pixel_values = torch.randn(PHOTOS, 3, *parts.preprocessing.size)
        photos = [photo % len(references) for photo in range(number * PHOTOS, (number + 1) * PHOTOS)]
        batch = TrainingBatch(pixel_values, none, none, photos, [False] * PHOTOS)
        steps.append(timed(lambda batch=batch: take_step(batch))[0])  # type: ignore[misc]
    return float(np.median(steps[1:])), float(np.median(scoring[1:]))  # the first warms up


def main() -> None:
    parser = script_parser(__doc__)
    parser.add_argument("--references", type=Path, default=RESULTS / "karpathy_test_references.json")
    parser.add_argument("--results", type=Path, default=RESULTS / "show_edit_tell_xe.json")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="OUT")
    arguments = parser.parse_args()
    outputs = [] if arguments.json is None else [arguments.json]
    check_files(parser, outputs, [arguments.references, arguments.results])
    try:
        values = measure(arguments.references, arguments.results, arguments.rounds)
    except ImportError as error:
        sys.exit(f"{error}; pip install pycocoevalcap, which this compares with")
    seconds, faster = values["seconds"], values["times_faster"]
    print(f"{values['captions']:,} captions, {values['references']:,} references, CIDEr {values['CIDEr']:.6f}")
    print(f"largest difference of a photo's score: {values['largest_difference']:.1e}")
    print(f"pycocoevalcap     {seconds['pycocoevalcap']:8.3f} s")
    for name in ("prepared", "with_preparation"):
        print(f"{name.replace('_', ' '):17} {seconds[name]:8.3f} s, {faster[name]:.1f} times faster")
    print(f"step              {seconds['step']:8.3f} s for {PHOTOS * SAMPLES} captions of {PHOTOS} photos")
    print(f"reward            {seconds['reward']:8.4f} s, {values['reward_share']:.2%} of the step")
    if arguments.json is not None:
        write_text(arguments.json, json.dumps(values, indent=2) + "\n")


if __name__ == "__main__":
    main()
