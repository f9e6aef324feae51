"""Captions of millions of photos, shard by shard, as ``wordgaze caption --out-dir`` writes them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from wordgaze.captioner import Captioner
from wordgaze.captioning.batches import AUTO
from wordgaze.captioning.shards.inputs import (
    ListShard,
    Shard,
    TarShard,
    dealt,
    digest_of_names,
    list_shards,
    tar_shards,
)
from wordgaze.captioning.shards.out_folder import OutFolder, Plan
from wordgaze.captioning.shards.rows import Format
from wordgaze.captioning.shards.run import Engine, Rules, ShardRun
from wordgaze.data.listing import Photo
from wordgaze.data.parquet_file import parquet_to_write
from wordgaze.errors import ConfigError
from wordgaze.files import AnyPath, one_line
from wordgaze.generation.options import GenerationOptions
from wordgaze.tasks.caption_files import run_identity

Part = tuple[int, int]
"""The number of a machine, from 0, and how many there are."""


def shards_of_tars(tars: Sequence[AnyPath], out_dir: AnyPath) -> list[TarShard]:
    """Return tars as shards; raise ConfigError where they can't be, or ``out_dir`` is the folder of one."""
    shards = tar_shards(tars)
    for folder in {shard.path.parent for shard in shards}:
        if os.path.isdir(out_dir) and os.path.samefile(folder, out_dir):
            raise ConfigError(
                f"The tars lie in {one_line(out_dir)}, where files about them may have the names of ours; name another "
                "folder."
            )
    return shards


def shards_of_photos(photos: Sequence[Photo]) -> list[ListShard]:
    """Return photos as shards of 10,000."""
    return list_shards(photos)


def shard_run(
    captioner: Captioner,
    shards: Sequence[Shard],
    out_dir: AnyPath,
    options: GenerationOptions,
    *,
    rows: Format = "jsonl",
    part: Part = (0, 1),
    strict: bool = False,
    batch_size: int | str = AUTO,
    rules: Rules | None = None,
) -> ShardRun:
    """Return a run over the shards of machine ``part``; its ``run()`` captions them.

    ``rules``: how it treats what is there; the difference to other runs is filled in. Raises ConfigError for
    ``batch_size``, and where Parquet is asked for and can't be written.
    """
    if rows == "parquet":
        parquet_to_write()
    identity = run_identity(captioner, options, strict=strict)
    engine = Engine(
        lambda photo: captioner.transform.array(photo)[0],
        partial(captioner.caption_pixels, options=options),
        captioner.batches(batch_size, (), options),
        captioner.transform.preprocessing.max_reduction,
        strict,
        captioner.on_cpu,
    )
    files = [file for shard in shards if isinstance(shard, ListShard) for file in shard.files]
    names = digest_of_names(files) if files else ""
    plan = Plan(tuple(shard.name for shard in shards), identity.to_dict(), rows, names)
    rules = replace(rules or Rules(), difference=identity.difference)
    return ShardRun(OutFolder(out_dir), plan, dealt(shards, *part), engine, rules)


def parse_part(text: str, environment: Mapping[str, str] = os.environ) -> Part:
    """Return the part that ``I/N``, or ``auto``, stands for; raise ConfigError.

    ``auto``: torchrun's RANK and WORLD_SIZE, or SLURM's variables of a job array, of tasks, or of both.
    """
    if text == "auto":
        return _part_of(environment)
    index, slash, count = text.partition("/")
    if slash and index.isdecimal() and count.isdecimal() and int(index) < int(count):
        return int(index), int(count)
    raise ConfigError(f"--shard is {text!r}; give I/N, the number of this machine from 0 to N - 1, or auto.")


_Names = tuple[str, str]
_TORCHRUN: _Names = ("RANK", "WORLD_SIZE")
_TASKS: _Names = ("SLURM_PROCID", "SLURM_NTASKS")


def _part_of(environment: Mapping[str, str]) -> Part:
    try:
        if all(name in environment for name in _TORCHRUN):
            index, count = (int(environment[name]) for name in _TORCHRUN)
            return _checked(index, count)
        task, tasks = (int(environment.get(name, default)) for name, default in zip(_TASKS, "01", strict=True))
        if "SLURM_ARRAY_TASK_ID" in environment:
            step = int(environment.get("SLURM_ARRAY_TASK_STEP", 1))
            first = int(environment["SLURM_ARRAY_TASK_MIN"])
            job = (int(environment["SLURM_ARRAY_TASK_ID"]) - first) // step
            # Not all numbers from the first on need be there: --array=0,7.
            last = int(environment["SLURM_ARRAY_TASK_MAX"])
            jobs = (last - first) // step + 1
            if jobs != int(environment["SLURM_ARRAY_TASK_COUNT"]):
                raise ValueError
            return _checked(job * tasks + task, jobs * tasks)
        if all(name in environment for name in _TASKS):
            return _checked(task, tasks)
    except (ValueError, KeyError, ZeroDivisionError):
        raise ConfigError(
            "--shard auto can't tell this machine's number from the variables of SLURM or torchrun (a job array must "
            "have all numbers from its first to its last); give --shard I/N."
        ) from None
    raise ConfigError("--shard auto needs the variables of SLURM or torchrun, which are not set; give --shard I/N.")


def _checked(index: int, count: int) -> Part:
    if not 0 <= index < count:
        raise ValueError
    return index, count
