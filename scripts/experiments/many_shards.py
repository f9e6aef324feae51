"""Simulates a large run's output folder, and times what `wordgaze status`, a rerun and `wordgaze merge` do with it.

    python -m scripts.experiments.many_shards [--shards 100000] [--rows 10] [--json OUT]

Makes a folder with as many shards that are done, each with a marker and some rows, as a run leaves it. Then it times:
a rerun of the same command, up to the first photo it would caption; `wordgaze status`; and `wordgaze merge` into JSONL
and Parquet, each in a process of its own, of which the peak memory is printed, too, for a tenth of the shards and for
all. No model is loaded. Linux alone says how much memory that was.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scripts.common.arguments import check_files, script_parser
from wordgaze.captioning.batches import BatchSize
from wordgaze.captioning.identity import RunIdentity
from wordgaze.captioning.shards.inputs import TarShard
from wordgaze.captioning.shards.marker import SUFFIX, Marker
from wordgaze.captioning.shards.out_folder import OutFolder, Plan
from wordgaze.captioning.shards.photo import SourcedPhotos
from wordgaze.captioning.shards.rows import Row
from wordgaze.captioning.shards.run import Engine, Rules, ShardRun
from wordgaze.files import write_text

IDENTITY = RunIdentity("0123456789abcdef", "float32", {"num_beams": 3})
# As much as a caption of COCO's photos with its numbers takes.
_CAPTION = "a group of people standing on top of a snow covered slope"


@dataclass(frozen=True)
class SimulatedShard(TarShard):
    """A tar that nobody should open."""

    def photos(self, start: int = 0, wanted: Callable[[int], bool] | None = None) -> SourcedPhotos:
        raise AssertionError(f"{self.name} is done, but was opened")
        yield


def make_folder(folder: Path, shards: int, rows: int) -> ShardRun:
    """Write a folder in which all shards but the last are done; return the run that would do the last."""
    inputs = [SimulatedShard(f"{number:06}", Path(f"{number:06}.tar"), 10_240, 1) for number in range(shards)]
    plan = Plan(tuple(shard.name for shard in inputs), IDENTITY.to_dict(), "jsonl")
    out = OutFolder(folder)
    out.begin(plan, IDENTITY.difference)
    counts = {"success": rows - 1, "refused": 1, "failed": 0}
    marker = Marker(
        rows=rows,
        counts=counts,
        reasons={"is empty (# bytes); get the file again from its source": 1},
        captioned=rows,
        seconds=1.0,
        started=0.0,
        ended=1.0,
        identity=IDENTITY.to_dict(),
        input=inputs[0].identity(),
    )
    text = marker.to_json()
    for shard in inputs[:-1]:
        out.data(shard.name, "jsonl").write_text("".join(_row(shard.name, number) + "\n" for number in range(rows)))
        (folder / f"{shard.name}{SUFFIX}").write_text(text)
    engine = Engine(_never, _never, BatchSize(1))
    return ShardRun(out, plan, inputs, engine, Rules(IDENTITY.difference))


def _row(shard: str, number: int) -> str:
    key = f"{shard}{number:04}"
    row = Row(key, f"{shard}.tar/{key}.jpg", _CAPTION, -9.87654321, 0.512345, "success", None, 640, 480, "0" * 64)
    if number == 0:
        row = replace(row, caption=None, log_probability=None, confidence=None, status="refused", error="is empty")
    return row.to_json()


def _never(*_: Any) -> Any:
    raise AssertionError("nothing should be captioned")


class _FirstPhoto(Exception):
    """The rerun has come to where it would open the shard that is not done."""


def time_rerun(run: ShardRun) -> float:
    """Return the seconds from a rerun's begin to the first shard that it captions."""
    last = run.shards[-1]

    def first(*_: Any) -> Any:
        raise _FirstPhoto

    object.__setattr__(last, "photos", first)
    start = time.perf_counter()
    try:
        for done in run.run():
            assert not done.is_ours
    except _FirstPhoto:
        return time.perf_counter() - start
    raise AssertionError("The rerun has captioned nothing.")


def time_command(*arguments: str) -> tuple[float, float, int]:
    """Return a command's seconds, its peak memory in MiB, and its exit status."""
    # Not getrusage: what it says of a process includes the one that started it.
    code = (
        "import re, sys\n"
        "from wordgaze.cli.main import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "finally:\n"
        "    print(re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read())[1], file=sys.stderr)"
    )
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    return time.perf_counter() - start, int(done.stderr.split()[-1]) / 1024, done.returncode


def measure(shards: int, rows: int, folder: Path) -> dict[str, Any]:
    """Return what takes how long, and how much memory, by name."""
    result: dict[str, Any] = {"shards": shards, "rows": (shards - 1) * rows}
    for name, count in (("tenth", shards // 10), ("all", shards)):
        out = folder / name
        run = make_folder(out, count, rows)
        if name == "all":
            result["rerun"] = {"seconds": time_rerun(run)}
            seconds, memory, _ = time_command("status", str(out))
            result["status"] = {"seconds": seconds, "mib": memory}
        for suffix in (".jsonl", ".parquet"):
            target = folder / f"{name}{suffix}"
            seconds, memory, status = time_command("merge", str(out), str(target), "--partial")
            assert status == 0
            result[f"merge{suffix} {name}"] = {"seconds": seconds, "mib": memory, "bytes": target.stat().st_size}
    return result


def main() -> None:
    parser = script_parser(__doc__)
    parser.add_argument("--shards", type=int, default=100_000)
    parser.add_argument("--rows", type=int, default=10, help="in each shard")
    parser.add_argument("--folder", type=Path, help="a folder for some 200,000 files; a temporary one by default")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    check_files(parser, [] if arguments.json is None else [arguments.json], [])
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        result = measure(arguments.shards, arguments.rows, Path(folder))
    print(f"{result['shards']:,} shards, {result['rows']:,} rows")
    for name, values in result.items():
        if isinstance(values, dict):
            memory = f", {values['mib']:.0f} MiB" if "mib" in values else ""
            print(f"{name}: {values['seconds']:.1f} s{memory}")
    if arguments.json is not None:
        write_text(arguments.json, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
