"""CIDEr side by side with pycocoevalcap's, both from the same words: how much faster, and are they equal?

python scripts/benchmark_cider.py [--references FILE --results FILE] [--rounds N] [--json OUT]

By default 5,000 captions of a published system against 25,010 references of COCO. Times are those of the fastest of N
rounds. "prepared": the references are prepared once and reused, as while training; "with preparation": all of it, as
pycocoevalcap does each time. "reward": a step of self-critical training, 160 captions of 32 photos, prepared; with
tokenisation, which a step needs too. `--step SECONDS` (the log of a run has it) gives the reward's share of a step.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from wordgaze.evaluation.cider import CiderD
from wordgaze.evaluation.ptb import tokenize_all
from wordgaze.tasks.evaluate import reference_photos, results_of

RESULTS = Path(__file__).resolve().parents[2] / "shared" / "data" / "results"
PHOTOS, SAMPLES = 32, 5  # of a step of self-critical training


def fastest(rounds: int, work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of the fastest round, and what the last one gave."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - start)
    return min(times), result


def measure(references: Path, results: Path, rounds: int) -> dict[str, Any]:
    """Seconds, ratios and the largest difference of any photo's score."""
    from pycocoevalcap.cider.cider import Cider

    photos = {photo.photo_id: photo for photo in reference_photos(references)}
    found, _ = results_of(results, photos)
    words = iter(tokenize_all(caption for photo in photos.values() for caption in photo.captions))
    ours = {photo_id: [next(words) for _ in photo.captions] for photo_id, photo in photos.items()}
    captions = dict(zip(photos, tokenize_all(found[photo_id] for photo_id in photos), strict=True))
    theirs = {photo_id: [" ".join(group) for group in groups] for photo_id, groups in ours.items()}
    their_captions = {photo_id: [" ".join(caption)] for photo_id, caption in captions.items()}

    their_time, (_, each) = fastest(rounds, lambda: Cider().compute_score(theirs, their_captions))
    whole_time, _ = fastest(rounds, lambda: CiderD(ours).score(captions))
    prepared = CiderD(ours)
    prepared_time, (mean, our_each) = fastest(rounds, lambda: prepared.score(captions))
    batch = [photo_id for photo_id in list(photos)[:PHOTOS] for _ in range(SAMPLES)]
    texts = [found[photo_id] for photo_id in batch]
    reward_time, _ = fastest(10 * rounds, lambda: prepared.rewards(batch, tokenize_all(texts)))
    return {
        "captions": len(captions),
        "references": sum(map(len, ours.values())),
        "CIDEr": mean,
        "largest_difference": float(np.abs(np.array(our_each) - np.array(each)).max()),
        "seconds": {
            "pycocoevalcap": their_time,
            "prepared": prepared_time,
            "with_preparation": whole_time,
            "reward": reward_time,
        },
        "times_faster": {
            "prepared": their_time / prepared_time,
            "with_preparation": their_time / whole_time,
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--references", type=Path, default=RESULTS / "karpathy_test_references.json")
    parser.add_argument("--results", type=Path, default=RESULTS / "show_edit_tell_xe.json")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--step", type=float, metavar="SECONDS", help="of a step of self-critical training")
    parser.add_argument("--json", type=Path, metavar="OUT")
    arguments = parser.parse_args()
    try:
        values = measure(arguments.references, arguments.results, arguments.rounds)
    except ImportError as error:
        sys.exit(f"{error}; pip install pycocoevalcap, which this compares with")
    seconds, faster = values["seconds"], values["times_faster"]
    print(
        f"{values['captions']:,} captions, {values['references']:,} references, CIDEr {values['CIDEr']:.6f}"
    )
    print(f"largest difference of a photo's score: {values['largest_difference']:.1e}")
    print(f"pycocoevalcap     {seconds['pycocoevalcap']:8.3f} s")
    for name in ("prepared", "with_preparation"):
        print(f"{name.replace('_', ' '):17} {seconds[name]:8.3f} s, {faster[name]:.1f} times faster")
    print(f"reward            {seconds['reward']:8.4f} s for {PHOTOS * SAMPLES} captions")
    if arguments.step is not None:
        values["reward_share"] = seconds["reward"] / arguments.step
        print(f"reward's share of a step of {arguments.step:g} s: {values['reward_share']:.2%}")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
