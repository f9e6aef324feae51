"""A run's folder: what is in it, whose it is, and what a run may write and delete there.

``log.csv``, ``samples.csv``, ``curves.png`` and ``training.yaml`` are the run's, ``tensorboard`` and ``wandb`` its
loggers'; ``checkpoints`` holds ``last.ckpt``, ``previous.ckpt`` (the last but one), ``best.ckpt`` and the run's
``tokenizer.json``. At the end the folder is a model folder, too: an older model in it stays whole until then.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch.utilities import rank_zero_only

from wordgaze.errors import ConfigError
from wordgaze.files import MODEL_FILES, AnyPath, check_outputs, write_text
from wordgaze.hub import resolve
from wordgaze.text.tokenizer import CaptionTokenizer
from wordgaze.training.checkpoint_file import BEST, CHECKPOINTS, LAST, PREVIOUS, DamagedCheckpoint, load_checkpoint
from wordgaze.training.config import TrainingConfig
from wordgaze.training.config_file import describe, parse_config
from wordgaze.training.folder_lock import FolderLock
from wordgaze.training.kept_photos import STATE_KEY
from wordgaze.training.settings import settings_of

CONFIG_FILE, LOG, SAMPLES, CURVES = "training.yaml", "log.csv", "samples.csv", "curves.png"
TENSORBOARD, WANDB = "tensorboard", "wandb"  # folders of the loggers
_COLUMNS = {LOG: ["step", "epoch", "seconds"], SAMPLES: ["step", "set", "photo"]}  # the first ones of ours
_MODEL = ("config.json", "model.safetensors")
_GROUPS = {"data", "tokenizer", "encoder", "decoder", "train"}  # which a training.yaml of ours has, each
# What systems and a shell's redirection leave in a folder that is otherwise new.
_SYSTEM_FILES = {"thumbs.db", "desktop.ini", "lost+found"}
_REDIRECTED = {".log", ".out", ".err"}
_MAY_CHANGE = set(
    "train.epochs train.max_steps train.checkpoint_every train.log_every train.devices train.patience "
    "train.validate_every train.accelerator train.precision train.strategy train.compile train.loggers "
    "data.workers data.on_broken encoder.cache".split()
)


class RunFolder:
    """The folder ``path`` of a run of ``config``: resumed where there is a checkpoint, unless ``restart``.

    ``inputs``: files beside those of the config that must not be written over. Nothing is written before :meth:`begin`.
    Of several devices' processes only the ``first`` checks and writes: the others find what it has made.
    """

    def __init__(
        self, path: AnyPath, config: TrainingConfig, inputs: Iterable[AnyPath] = (), restart: bool = False
    ) -> None:
        self.path = Path(path)
        self.config = config
        self.inputs = [*inputs, *config.files()]
        self.first: bool = rank_zero_only.rank == 0  # type: ignore[attr-defined]
        self.restart = restart and self.first
        # What a run may write, files and folders.
        self.folders = {"checkpoints", TENSORBOARD, WANDB}
        self.names = {*self.folders, LOG, SAMPLES, CURVES, CONFIG_FILE, *MODEL_FILES}
        self.checkpoints = self.path / "checkpoints"
        self.last, self.previous, self.best = (self.checkpoints / name for name in (LAST, PREVIOUS, BEST))
        self.log, self.samples = self.path / LOG, self.path / SAMPLES
        self.description = self.path / CONFIG_FILE
        self.checkpoint: dict[str, Any] | None = None  # from which the run resumes
        self.damage: str | None = None  # why that is the one before the last
        self._tokenizer = self.checkpoints / "tokenizer.json"
        self._lock = FolderLock(self.checkpoints)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from training into the folder, from here or :meth:`begin` on, to the end of the block.

        Raises ConfigError where one does already.
        """
        try:
            if self.first and self.checkpoints.is_dir():
                self._take_lock()
            yield
        finally:
            self._lock.release()

    def _take_lock(self) -> None:
        if not self._lock.take():
            raise ConfigError(f"Another process is training into {self.path}; wait for it, or choose another --out.")

    def open(self) -> None:
        """Find the checkpoint to resume from; raise an error where the run may not begin or resume here.

        It may in a new or an empty folder, and in one that a run of ours has begun; never where a file that it would
        write is one of its inputs. Where the last checkpoint is damaged, the one before it is taken; raise ModelError
        where that is damaged, too, or the best one.
        """
        if self.first:
            self._check_initial_model()
            self._check_place()
            self._check_inputs()
            self._check_content()
        if self.restart:
            return
        if self.best.exists():
            load_checkpoint(self.best, mmap=True)
        self.checkpoint = self._load()
        if self.checkpoint is not None:
            self._check_length(self.checkpoint)

    def _load(self) -> dict[str, Any] | None:
        try:
            if self.last.exists():
                return load_checkpoint(self.last)
        except DamagedCheckpoint as error:
            if not self.previous.exists():
                raise
            self.damage = str(error).partition("; ")[0]
            try:
                return load_checkpoint(self.previous)
            except DamagedCheckpoint:
                raise error from None
        # Killed between the two renames of a file system without hard links.
        return load_checkpoint(self.previous) if self.previous.exists() else None

    @property
    def begins_run(self) -> bool:
        """Return whether this process begins a run: it is the first, and there is nothing to resume from."""
        return self.first and self.checkpoint is None

    @property
    def position(self) -> tuple[int, int] | None:
        """Return in which epoch, and after how many of its batches, the checkpoint was written."""
        if self.checkpoint is None:
            return None
        progress = self.checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        return self.checkpoint["epoch"], progress["current"]["ready"]

    def tokenizer(self) -> CaptionTokenizer | None:
        """Return the tokenizer of a run that resumes, if it has one of its own."""
        if not self.begins_run:
            for path in (self._tokenizer, self.path / "tokenizer.json"):  # where older versions kept it
                if path.exists():
                    return CaptionTokenizer.load(path)
        return None

    def check_tokenizer(self, tokenizer: CaptionTokenizer) -> None:
        """Raise ConfigError where a run that resumes began with another tokenizer: its ids meant other words."""
        began = (self.checkpoint or {}).get(STATE_KEY, {}).get("tokenizer")
        if began is not None and began != tokenizer.fingerprint():
            raise ConfigError(
                f"{self._tokenizer} is not the tokenizer that the run began with; put that file back to resume, choose "
                "another --out, or give --restart to start over."
            )

    def begin(self, tokenizer: CaptionTokenizer | None) -> None:
        """Make the folder ready: of an earlier run, delete what is not the model; of a run that resumes, later rows."""
        if not self.first:
            return
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        self._take_lock()
        if self.checkpoint is None:
            self._delete_earlier_run()
            if tokenizer is not None:
                tokenizer.save(self._tokenizer)
        else:
            if self.damage is not None or not self.last.exists():
                # Where the next checkpoint would make the damaged one the previous.
                self.previous.replace(self.last)
            # What was logged after the checkpoint will be logged again.
            for path in (self.log, self.samples):
                drop_rows_after(path, self.checkpoint["global_step"])
        self._delete_leftovers()
        # A run that is described by its own training.yaml: what the user has given stays as it is.
        if not any(_is_same_file(self.description, path) for path in self.inputs):
            write_text(self.description, describe(self.config))

    def _delete_leftovers(self) -> None:
        """Delete what a process that was killed while it wrote has left."""
        for name in CHECKPOINTS:
            (self.checkpoints / f"{name}.new").unlink(missing_ok=True)
        for folder in (self.path, self.checkpoints):
            for path in folder.glob(".wordgaze-*.tmp"):
                path.unlink(missing_ok=True)

    def _delete_earlier_run(self) -> None:
        for name in CHECKPOINTS:
            (self.checkpoints / name).unlink(missing_ok=True)
        events = (self.path / TENSORBOARD).glob("events.out.tfevents.*")
        for path in (self.log, self.samples, self.path / CURVES, self._tokenizer, *events):
            path.unlink(missing_ok=True)

    def _check_initial_model(self) -> None:
        """Raise ConfigError where a run would be written into the model that it starts from."""
        name = self.config.train.initial_model
        if name is None or not self.path.exists():
            return
        model = resolve(None) if name == "bundled" else Path(name).expanduser()
        if model.exists() and os.path.samefile(model, self.path):
            raise ConfigError(
                f"train.initial_model {name} is the folder {self.path} to train into, and its model would be lost; "
                "choose another --out."
            )

    def _check_place(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise ConfigError(f"{self.path} is a file, but a run needs a folder; choose another --out.")
        parent = self.path
        while not parent.exists() and parent != parent.parent:
            parent = parent.parent
        if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
            raise ConfigError(f"Nothing can be written in {parent}; choose another --out, or change its permissions.")
        if self.checkpoints.exists() and not self.checkpoints.is_dir():
            raise ConfigError(f"{self.checkpoints} is a file; move it away, or choose another --out.")

    def _check_inputs(self) -> None:
        if not self.path.is_dir():
            return
        outputs = [self.path / name for name in sorted(self.names - self.folders)]
        if self.checkpoints.is_dir():
            outputs += [self.checkpoints / name for name in (*CHECKPOINTS, "tokenizer.json")]
        # Its own description may be the config: it is then left alone.
        check_outputs(outputs, [path for path in self.inputs if not _is_same_file(self.description, path)])

    def _check_content(self) -> None:
        if not self.path.is_dir() or not self._content():
            return
        if not self._is_a_run():
            raise ConfigError(f"{self._what_is_here()}; choose a new or empty folder as --out.")
        for path, columns in ((self.log, _COLUMNS[LOG]), (self.samples, _COLUMNS[SAMPLES])):
            _check_columns(path, columns)
        if self.restart:
            return
        if self.last.exists() or self.previous.exists():
            self._check_same_settings()
        elif self.best.exists() or all((self.path / name).exists() for name in _MODEL):
            raise ConfigError(
                f"{self.path} holds a model, but no checkpoints/last.ckpt to resume from; choose "
                "another --out (with train.initial_model to start from that model), or --restart to replace it."
            )

    def _content(self) -> list[str]:
        """Return what is in the folder, but for what nobody has put there."""
        return sorted(
            entry.name
            for entry in os.scandir(self.path)
            if not entry.name.startswith(".")
            and entry.name.lower() not in _SYSTEM_FILES
            and not (os.path.splitext(entry.name)[1] in _REDIRECTED and entry.is_file())
        )

    def _is_a_run(self) -> bool:
        try:
            values = yaml.safe_load(self.description.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError, yaml.YAMLError):
            return False
        return isinstance(values, dict) and set(values) >= _GROUPS

    def _what_is_here(self) -> str:
        if all((self.path / name).exists() for name in _MODEL):
            return f"{self.path} is a model folder, but not a run of `wordgaze train` (it has no {CONFIG_FILE})"
        names = self._content()
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        return f"{self.path} is not a run of `wordgaze train` and not empty: it holds {names[0]}{more}"

    def _check_same_settings(self) -> None:
        """Raise ConfigError for other settings than the run began with; how long and how often may change."""
        before, now = (settings_of(config) for config in (parse_config(self.description), self.config))
        changed = {f"{group}.{name}" for group in now for name in now[group] if now[group][name] != before[group][name]}
        changed = {name for name in changed if not name.startswith("generation.")} - _MAY_CHANGE
        if changed:
            raise ConfigError(
                f"{self.path} holds a run with different settings of {', '.join(sorted(changed))}; "
                "give the same settings to resume, another --out, or --restart to start over."
            )

    def _check_length(self, checkpoint: Mapping[str, Any]) -> None:
        """Raise ConfigError where a run has gone further already than its config lets it go."""
        epoch, step, train = checkpoint["epoch"] + 1, checkpoint["global_step"], self.config.train
        if epoch > train.epochs:
            raise ConfigError(
                f"{self.path} is in epoch {epoch} already, but train.epochs is {train.epochs}; give more epochs to "
                "resume, another --out, or --restart to start over."
            )
        if 0 < train.max_steps < step:
            raise ConfigError(
                f"{self.path} has trained {step} steps already, but train.max_steps is {train.max_steps}; give more "
                "steps to resume, another --out, or --restart to start over."
            )


def drop_rows_after(path: Path, step: int) -> None:
    """Drop what a run wrote after ``step``, where it resumes: it will be written again."""
    if not path.exists():
        return
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = list(csv.reader(file)) or [[]]
    if not header:  # killed before its first line was whole
        path.unlink()
        return
    # The last row of a killed run may lack its end.
    whole = [row for row in rows if len(row) == len(header) and row[0].isdecimal()]
    text = io.StringIO(newline="")
    csv.writer(text).writerows([header, *(row for row in whole if int(row[0]) <= step)])
    write_text(path, text.getvalue())


def _check_columns(path: Path, columns: Sequence[str]) -> None:
    """Raise ConfigError where the file is somebody else's: it would be deleted, or written on."""
    if not path.exists():
        return
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header = next(csv.reader(file), [])
    except (OSError, UnicodeDecodeError, csv.Error):
        header = [""]
    if header and header[: len(columns)] != columns:
        raise ConfigError(f"{path} is not one of `wordgaze train`; move it away, or choose another --out.")


def _is_same_file(path: Path, other: AnyPath) -> bool:
    try:
        return os.path.samefile(path, other)
    except OSError:
        return False
