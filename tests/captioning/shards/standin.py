"""A captioner that knows no model: a photo's caption tells its color. Imports nothing heavy.

    python -m tests.captioning.shards.standin OUT_DIR SECONDS_A_BATCH TAR...

runs over tars as ``wordgaze caption --claim`` does.
"""

from __future__ import annotations

import io
import sys
import tarfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from wordgaze.captioning.batches import BatchSize
from wordgaze.captioning.identity import RunIdentity
from wordgaze.captioning.shards.inputs import ListShard, Shard, dealt, digest_of_names, tar_shards
from wordgaze.captioning.shards.out_folder import OutFolder, Plan
from wordgaze.captioning.shards.rows import Format, Row, read_rows
from wordgaze.captioning.shards.run import Engine, Rules, ShardRun
from wordgaze.generation.caption import Caption
from wordgaze.signals import StopSignals

IDENTITY = RunIdentity("ab12", "float32", {"num_beams": 3})


def engine(seconds: float = 0.0, on_batch: Callable[[], object] = lambda: None, batch: int = 4) -> Engine:
    def pixel_values(photo: Any) -> np.ndarray:
        image = photo if isinstance(photo, Image.Image) else photo.image
        return np.asarray(image.resize((1, 1)), np.uint8).transpose(2, 0, 1)

    def caption(pixels: np.ndarray) -> list[Caption]:
        time.sleep(seconds)
        on_batch()
        return [Caption("{:02x}{:02x}{:02x}".format(*photo.flatten()), -1.5, (), (), 0.5) for photo in pixels]

    return Engine(pixel_values, caption, BatchSize(batch))


def color(number: int) -> tuple[int, int, int]:
    return number % 256, number // 256 % 256, 7


def caption_of(number: int) -> str:
    return "{:02x}{:02x}{:02x}".format(*color(number))


def png(number: int, size: tuple[int, int] = (3, 2)) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", size, color(number)).save(data, "PNG")
    return data.getvalue()


def write_tar(
    path: Path, members: Mapping[str, bytes] | Sequence[tuple[tarfile.TarInfo, bytes]], mode: str = "w"
) -> Path:
    """Write members in their order; a TarInfo may say anything but its size."""
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for info, data in members.items() if isinstance(members, Mapping) else members:
            info = tarfile.TarInfo(info) if isinstance(info, str) else info
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def layout(first: int, count: int) -> dict[str, bytes]:
    """Return the members of a tar as img2dataset writes them."""
    members = {}
    for number in range(first, first + count):
        members |= {f"{number:09}.jpg": png(number), f"{number:09}.txt": b"a text", f"{number:09}.json": b"{}"}
    return members


def make_run(
    shards: Sequence[Shard],
    out: Path,
    identity: RunIdentity = IDENTITY,
    rows: Format = "jsonl",
    part: tuple[int, int] = (0, 1),
    captioner: Engine | None = None,
    **rules: Any,
) -> ShardRun:
    files = [file for shard in shards if isinstance(shard, ListShard) for file in shard.files]
    names = digest_of_names(files) if files else ""
    plan = Plan(tuple(shard.name for shard in shards), identity.to_dict(), rows, names)
    rules = {"poll": 0.05, "beat": 0.1, "expiry": 1.0, **rules}
    run_rules = Rules(identity.difference, **rules)
    return ShardRun(OutFolder(out), plan, dealt(shards, *part), captioner or engine(), run_rules)


def rows_of(out: Path, shard: str, rows: Format = "jsonl") -> list[Row]:
    return list(read_rows(out / f"{shard}.{rows}"))


def main(out: str, seconds: str, *tars: str) -> None:
    signals = StopSignals()
    run = make_run(
        tar_shards(tars), Path(out), captioner=engine(float(seconds)), shared=True, stopping=signals.stopping
    )
    with signals.kept_back():
        for done in run.run():
            print(done.name, done.is_ours, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
