"""The output folder: a data file and a marker for each shard, plans of what is to be done, and what runs now."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wordgaze.captioning.shards.marker import SUFFIX, Marker, read_marker
from wordgaze.captioning.shards.rows import FORMATS, Format
from wordgaze.errors import ConfigError
from wordgaze.files import AnyPath, check_output_folder, one_line

PLAN_FORMAT = "wordgaze-plan-1"
_PLAN = re.compile(r"wordgaze_plan_[0-9a-f]{12}\.json")
_CLAIM = re.compile(r"\.(.+)\.claim\.(\d+)", re.DOTALL)
# partial: rows so far, as JSON lines; the others: files before their renaming.
_TEMPORARY = re.compile(r"\.(.+)\.([0-9a-f]{8})\.(partial|data|stats|plan)", re.DOTALL)


@dataclass(frozen=True)
class Plan:
    """What a command is to do: the names of its shards, of all machines. ``identity``: as of ``RunIdentity.to_dict``.

    ``names``: the digest of the photos' names, for a list of photos; empty for tars.
    """

    shards: tuple[str, ...]
    identity: Mapping[str, Any]
    rows: Format
    names: str = ""

    def to_json(self) -> str:
        values = {
            "format": PLAN_FORMAT,
            "rows": self.rows,
            "identity": dict(self.identity),
            "names": self.names,
            "shards": list(self.shards),
        }
        return json.dumps(values, indent=1) + "\n"


@dataclass
class Contents:
    """The names in the folder, as a single listing gives them.

    ``claims``: numbers of claim files by shard; ``temporary``: by shard, the names; ``strangers``: not ours.
    """

    done: set[str] = field(default_factory=set)
    data: dict[str, str] = field(default_factory=dict)
    claims: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    temporary: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    plans: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)


class OutFolder:
    """An ``--out-dir``."""

    def __init__(self, path: AnyPath) -> None:
        self.path = Path(path)

    def data(self, shard: str, rows: Format) -> Path:
        return self.path / f"{shard}.{rows}"

    def marker(self, shard: str) -> Path:
        return self.path / f"{shard}{SUFFIX}"

    def temporary(self, shard: str, token: str, kind: str) -> Path:
        return self.path / f".{shard}.{token}.{kind}"

    def read_marker(self, shard: str) -> Marker | None:
        return read_marker(os.path.join(self.path, shard + SUFFIX))

    def contents(self) -> Contents:
        """Return what the folder holds; nothing where it does not exist. Raises ConfigError where it can't be read."""
        contents = Contents()
        try:
            with os.scandir(self.path) as entries:
                for entry in entries:
                    _sort_in(entry.name, contents)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise ConfigError(
                f"The folder {one_line(self.path)} can't be read ({error.strerror}); check the path."
            ) from None
        return contents

    def plans(self, contents: Contents) -> list[Plan]:
        """Return the plans of all commands that have written here; raise ConfigError for one that is damaged."""
        return [_read_plan(self.path / name) for name in sorted(contents.plans)]

    def check_is_ours(self, contents: Contents, plans: Iterable[Plan]) -> None:
        """Raise ConfigError where the folder holds what no command of ours has written there."""
        planned = {shard for plan in plans for shard in plan.shards}
        others = [contents.data[shard] for shard in contents.data if shard not in planned]
        others += [shard + SUFFIX for shard in contents.done if shard not in planned]
        if strangers := sorted([*contents.strangers, *others]):
            more = f" and {len(strangers) - 1:,} more files" if len(strangers) > 1 else ""
            raise ConfigError(
                f"The folder {one_line(self.path)} holds {one_line(strangers[0])}{more}, which wordgaze has not "
                "written; name a new or empty folder."
            )

    def begin(self, plan: Plan, is_other: Callable[[Mapping[str, Any]], str | None]) -> tuple[Contents, Path]:
        """Make the folder and write the plan; return what was there, and the plan's file.

        ``is_other``: says how another identity differs, or None. Raises ConfigError for files that are not ours, and
        for plans that are not to be mixed with this one.
        """
        check_output_folder(self.path)
        contents = self.contents()
        plans = self.plans(contents)
        self.check_is_ours(contents, plans)
        for other in plans:
            self._check_plan(plan, other, is_other(other.identity))
        self._check_names(plan)
        self.path.mkdir(parents=True, exist_ok=True)
        text = plan.to_json()
        digest = hashlib.sha256(text.encode()).hexdigest()
        file = self.path / f"wordgaze_plan_{digest[:12]}.json"
        while file.name not in contents.plans and not file.exists():
            # Another run may take the temporary file for one that a killed run has left.
            with suppress(FileNotFoundError):
                self.write("wordgaze", secrets.token_hex(4), "plan", text, file)
        return contents, file

    def write(self, shard: str, token: str, kind: str, text: str, path: Path) -> None:
        """Write a text whole or not at all."""
        temporary = self.temporary(shard, token, kind)
        try:
            with temporary.open("w", encoding="ascii") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            self.rename(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def rename(self, temporary: Path, path: Path) -> None:
        """Rename a file that is on the disk, and see the new name there, too."""
        os.replace(temporary, path)
        # Some network file systems can't.
        with suppress(OSError):
            handle = os.open(self.path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

    def remove(self, names: Iterable[str]) -> None:
        for name in names:
            (self.path / name).unlink(missing_ok=True)

    def _check_plan(self, plan: Plan, other: Plan, difference: str | None) -> None:
        if difference is None and other.rows != plan.rows:
            difference = f"its files are .{other.rows}, not .{plan.rows}"
        if difference is None and other.names and plan.names and other.names != plan.names:
            difference = "it is of another list of photos, or photos were added or removed since"
        if difference is None and bool(other.names) != bool(plan.names):
            difference = "it is of tars" if plan.names else "it is of a list of photos, not of tars"
        if difference is not None:
            raise ConfigError(
                f"The folder {one_line(self.path)} is of another run: {difference}. Rows of both are not mixed; name "
                "another folder."
            )

    def _check_names(self, plan: Plan) -> None:
        # The longest that is made of a shard's name.
        longest = max(plan.shards, key=lambda shard: len(os.fsencode(shard)), default="")
        if len(os.fsencode(longest)) > 255 - len(".") - len(".12345678.partial"):
            raise ConfigError(f"{one_line(longest)} is too long for names made of it; rename the tar.")


def _sort_in(name: str, contents: Contents) -> None:
    if name.startswith("."):
        if match := _CLAIM.fullmatch(name):
            contents.claims[match[1]].append(int(match[2]))
        elif match := _TEMPORARY.fullmatch(name):
            contents.temporary[match[1]].append(name)
        # What is hidden otherwise is the system's, as .nfs000012.
    elif name.endswith(SUFFIX) and len(name) > len(SUFFIX):
        contents.done.add(name.removesuffix(SUFFIX))
    elif _PLAN.fullmatch(name):
        contents.plans.append(name)
    elif name.endswith(tuple(f".{rows}" for rows in FORMATS)):
        contents.data[name.rpartition(".")[0]] = name
    else:
        contents.strangers.append(name)


def _read_plan(path: Path) -> Plan:
    try:
        values = json.loads(path.read_bytes())
        if values["format"] != PLAN_FORMAT or values["rows"] not in FORMATS:
            raise ValueError
        return Plan(tuple(values["shards"]), values["identity"], values["rows"], values["names"])
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ConfigError(f"{one_line(path)} is not a plan of this version of wordgaze; name another folder.") from None
