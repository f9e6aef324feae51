"""Sources of drawn scenes: drawn elsewhere while a run is checked, and moved into its folder when it begins."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from wordgaze.data.captions import CaptionSet, Source
from wordgaze.data.photo_table import PhotoTable
from wordgaze.data.shapes import write_shapes
from wordgaze.errors import ConfigError
from wordgaze.training.run_folder import RunFolder


class DrawnSources:
    """The scenes of the sources of ``format: shapes``, in folders of ``run`` by the names that the config gives.

    A new run draws them although they are there. Until :meth:`move` they are in a temporary folder, which is there
    within ``with``.
    """

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self._temporary = TemporaryDirectory(prefix="wordgaze-")
        self._scenes: dict[Path, tuple[int, int]] = {}  # a folder of the run → how many, and their seed
        self._waiting: dict[Path, Path] = {}  # a folder of the run → where its scenes are for now

    def __enter__(self) -> DrawnSources:
        return self

    def __exit__(self, *exception: object) -> None:
        self._temporary.cleanup()

    def source(self, source: Source) -> Source:
        """Return the source as it can be read: of drawn scenes the COCO file that they are in."""
        if source.format != "shapes":
            return source
        folder, scenes = self._folder(source.captions), (source.limit or 1000, source.seed)
        if self._scenes.setdefault(folder, scenes) != scenes:
            raise ConfigError(
                f"Two sources of format shapes are drawn into {source.captions!r}, with different limits or seeds; "
                "give each a name of its own."
            )
        if folder not in self._waiting and (self.run.begins_run or not (folder / "captions.json").exists()):
            self._waiting[folder] = Path(self._temporary.name) / str(len(self._waiting))
            write_shapes(self._waiting[folder], *scenes)
        now = self._waiting.get(folder, folder)
        return replace(source, captions=str(now / "captions.json"), format="coco", limit=None)

    def settled(self, captions: CaptionSet) -> CaptionSet:
        """Return the set as it will be after :meth:`move`, with the paths of the run's folder."""
        for folder, now in self._waiting.items():
            photos = PhotoTable(
                replace(photo, path=folder / photo.path.relative_to(now)) if now in photo.path.parents else photo
                for photo in captions
            )
            description = captions.description.replace(str(now), str(folder))
            captions = replace(captions, photos=photos, description=description)
        return captions

    def current(self, path: Path) -> Path:
        """Return where a photo that :meth:`settled` has named lies now."""
        for folder, now in self._waiting.items():
            if folder in path.parents and not path.exists():
                return now / path.relative_to(folder)
        return path

    def holds(self, path: Path) -> bool:
        """Return whether a photo was drawn by us, so that nobody has to look whether it can be read."""
        return any(folder in path.parents for folder in (*self._scenes, *self._waiting.values()))

    def check(self) -> None:
        """Raise ConfigError where scenes would be drawn over a file that the run reads."""
        for path in map(Path, self.run.inputs):
            for folder in self._waiting:
                if Path(os.path.realpath(folder)) in Path(os.path.realpath(path)).parents:
                    raise ConfigError(
                        f"{path} is an input and lies in {folder}, where scenes of a source of format shapes are to "
                        "be drawn; give that source another name."
                    )

    def move(self) -> None:
        """Put the scenes where they belong; those of an earlier run make room."""
        if self.run.first:
            for folder, now in self._waiting.items():
                shutil.rmtree(folder, ignore_errors=True)
                folder.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(now, folder)
        self._temporary.cleanup()

    def _folder(self, name: str) -> Path:
        """Return the folder ``name`` of the run; raise ConfigError where it holds, or would hold, anything else."""
        inside = Path(os.path.normpath(name))
        first = inside.parts[0] if inside.parts else ".."
        if inside.is_absolute() or first == ".." or first in self.run.names:
            raise ConfigError(
                f"A source of format shapes is drawn into a folder of the run's own, and {name!r} can't be one; give a "
                "name such as shapes/train."
            )
        folder = self.run.path / inside
        for other in self._scenes:
            if folder in other.parents or other in folder.parents:
                raise ConfigError(f"Of two sources of format shapes one is drawn into the other, {name!r}; rename one.")
        if folder.exists() and not _was_drawn(folder):
            raise ConfigError(
                f"{folder} exists already, and its scenes were not drawn by `wordgaze train`; move it away, or give "
                "that source of format shapes another name."
            )
        return folder


def _was_drawn(folder: Path) -> bool:
    """Return whether there is nothing in the folder that :func:`write_shapes` does not write: it may be deleted."""
    photos = folder / "photos"
    if folder.is_symlink() or photos.is_symlink() or not folder.is_dir():
        return False
    if not {entry.name for entry in os.scandir(folder)} <= {"photos", "captions.json", "instances.json"}:
        return False
    names = os.listdir(photos) if photos.is_dir() else []
    return all(len(name) == 10 and name[:6].isdecimal() and name.endswith(".png") for name in names)
