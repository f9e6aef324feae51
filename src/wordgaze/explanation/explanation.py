"""What an explanation is: a caption with a map for each word; and how it is saved."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from wordgaze.data.geometry import Geometry
from wordgaze.errors import ConfigError
from wordgaze.explanation import overlay
from wordgaze.explanation.evidence import is_grounded
from wordgaze.explanation.grid import Panel, caption_picture
from wordgaze.explanation.methods import WordMaps
from wordgaze.explanation.report import LONGEST, html_frame, html_report
from wordgaze.files import check_outputs, checked_path, write_text, write_whole
from wordgaze.generation.caption import Caption

EXPLANATION_SUFFIXES = (".png", ".html", ".json", ".npz")


@dataclass(frozen=True, eq=False)
class ExplainedWord:
    """A word and where the model looked for it.

    ``map`` (H_p, W_p) float32, sums to one over the patches. ``entropy``: of the map, in bits. ``peak``: (x, y), the
    photo pixel under the center of the highest of the patches that show any photo. ``evidence``: in bits, how much
    likelier the photo made the word; ``grounded``: whether the map may be read as what the word stands for
    (:mod:`wordgaze.explanation.evidence`). ``probability`` is None for a word of the prompt. ``prefix``: the share of
    attention that went to the encoder's class and register tokens, which the map leaves out; None where there are none.
    """

    text: str
    probability: float | None
    entropy: float
    map: np.ndarray = field(repr=False)
    peak: tuple[int, int]
    evidence: float
    grounded: bool
    prefix: float | None = None


@dataclass(frozen=True, eq=False)
class Explanation:
    """A caption and, for each of its words, a map over the photo; ``str()`` is the caption.

    ``photo``: upright, RGB. ``geometry`` lays a map over the photo's own pixels: ``geometry.place(word.map)``.
    ``grid_size``: patches down and across, (H_p, W_p). ``words_attention`` (words, 1 + words): what each word paid of
    self-attention to the caption's start and to the words before it. ``raw``: maps are the method's softmax rows as
    they are. ``name``: the photo's file name, if it has one. ``source``: the file that the photo came from, if any;
    ``save`` does not write over it. ``alternatives``: other captions of the photo, to choose from in a report;
    ``note`` says there in a few words where the caption comes from, if that must be said.
    """

    caption: Caption
    words: tuple[ExplainedWord, ...]
    photo: Image.Image = field(repr=False)
    geometry: Geometry
    grid_size: tuple[int, int]
    method: str
    words_attention: np.ndarray = field(repr=False)
    raw: bool = False
    name: str = "photo"
    source: Path | None = None
    alternatives: tuple[Explanation, ...] = ()
    note: str = ""

    def __str__(self) -> str:
        return str(self.caption)

    def grid(self) -> Image.Image:
        """Return the photo, the photo under the map of each grounded word, and below them the caption."""
        panels = [Panel(word.text, word.map, word.probability, word.grounded) for word in self.words]
        return caption_picture(self.photo, panels, self.geometry)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a .png (the grid), .html (a page), .json or .npz (the numbers), whole or not at all.

        Raises ConfigError for other suffixes, for a folder that is not there, and for the photo's own file.
        """
        suffix = explanation_suffix(path)
        path = Path(path)
        check_outputs([path], [] if self.source is None else [self.source])
        if suffix == ".png":
            write_whole(path, lambda file: self.grid().save(file, "PNG", pnginfo=_made_by_us()))
        elif suffix == ".html":
            write_text(path, html_report([self]), errors="replace")
        elif suffix == ".json":
            write_text(path, json.dumps(self.to_dict(), ensure_ascii=False) + "\n")
        else:
            arrays = self.to_arrays()
            write_whole(path, lambda file: np.savez_compressed(file, allow_pickle=False, **arrays))

    def report_item(self) -> Explanation:
        """Return what a report shows of it: a photo with a side of more than ``LONGEST`` pixels is made smaller."""
        if max(self.photo.size) <= LONGEST:
            return self
        photo, geometry = overlay.resize(self.photo, self.geometry, LONGEST)
        others = tuple(other._over(photo, geometry) for other in self.alternatives)
        return replace(self._over(photo, geometry), alternatives=others)

    def _over(self, photo: Image.Image, geometry: Geometry) -> Explanation:
        """Return the same over its photo in another size."""
        words = tuple(replace(word, peak=overlay.peak(word.map, geometry)) for word in self.words)
        return replace(self, photo=photo, geometry=geometry, words=words)

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers as JSON has them; maps are lists of rows, the top row first."""
        values = self.caption.to_dict()
        values["words"] = [
            {
                "word": word.text,
                "probability": word.probability,
                "entropy": word.entropy,
                "evidence": word.evidence,
                "grounded": word.grounded,
                "peak": list(word.peak),
                "map": _short(word.map),
                **({} if word.prefix is None else {"prefix": word.prefix}),
            }
            for word in self.words
        ]
        return {
            **values,
            "method": self.method,
            "raw": self.raw,
            "words_attention": _short(self.words_attention),
            "photo_size": list(self.geometry.photo_size),
            "input_size": list(self.geometry.input_size),
            "box": list(self.geometry.box),
        }

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the numbers as NumPy arrays: ``maps`` (words, H_p, W_p), ``peaks`` (words, 2), else a value a word."""
        words = self.words
        shares = [word.prefix for word in words]
        return {
            "caption": np.array(self.caption.text),
            "log_probability": np.array(self.caption.log_probability),
            "method": np.array(self.method),
            "raw": np.array(self.raw),
            "words_attention": self.words_attention,
            "words": np.array([word.text for word in words], dtype=str),
            "probabilities": np.array([word.probability for word in words], np.float32),
            "entropies": np.array([word.entropy for word in words], np.float32),
            **({} if set(shares) <= {None} else {"prefix": np.array(shares, np.float32)}),
            "evidence": np.array([word.evidence for word in words], np.float32),
            "grounded": np.array([word.grounded for word in words], bool),
            "peaks": np.array([word.peak for word in words], np.int64).reshape(-1, 2),
            "maps": np.array([word.map for word in words], np.float32).reshape(len(words), *self.grid_size),
            "photo_size": np.array(self.geometry.photo_size),
            "input_size": np.array(self.geometry.input_size),
            "box": np.array(self.geometry.box),
        }

    def _repr_html_(self) -> str:
        """Return the report in a frame, for notebooks."""
        return html_frame([self])


def make_explanation(
    caption: Caption,
    maps: WordMaps,
    evidence: Sequence[float],
    photo: Image.Image,
    geometry: Geometry,
    *,
    method: str,
    raw: bool,
    source: object,
) -> Explanation:
    """Return the explanation of a caption by its words' ``maps``, with ``evidence`` in bits a word.

    ``source``: what the photo was read from.
    """
    words = tuple(
        ExplainedWord(
            text=word.text,
            probability=None if generated.probability is None else word.probability,
            entropy=word.entropy,
            map=word.map,
            peak=overlay.peak(word.map, geometry),
            evidence=bits,
            grounded=is_grounded(word.text, bits),
            prefix=word.prefix,
        )
        for word, generated, bits in zip(maps.words, caption.words, evidence, strict=True)
    )
    return Explanation(
        caption=caption,
        words=words,
        photo=photo,
        geometry=geometry,
        grid_size=maps.grid_size,
        method=method,
        words_attention=maps.words_attention,
        raw=raw,
        name=Path(source).name if isinstance(source, str | os.PathLike) else "photo",
        source=_source_file(source),
    )


def _short(rows: np.ndarray) -> list[list[float]]:
    """Return lists for JSON, of six digits: float32 has no more to say."""
    return [[float(f"{value:.6g}") for value in row] for row in rows]


def _made_by_us() -> PngInfo:
    """Return a mark for PNGs: `wordgaze explain` writes among photos over those alone that have it."""
    info = PngInfo()
    info.add_text("Software", "wordgaze")
    return info


def _source_file(photo: object) -> Path | None:
    """Return the file that ``photo`` is, or was opened from, as far as it tells."""
    name = photo
    if isinstance(photo, Image.Image):
        name = getattr(photo, "filename", None)
    elif hasattr(photo, "read"):
        name = getattr(photo, "name", None)  # a number where a descriptor was opened
    return Path(os.path.abspath(name)) if isinstance(name, str | os.PathLike) and os.fspath(name) else None


def explanation_suffix(path: str | os.PathLike[str]) -> str:
    """Return what :meth:`Explanation.save` writes to a path; raises ConfigError when it can't tell."""
    suffix = checked_path("path", path).suffix.lower()
    if suffix not in EXPLANATION_SUFFIXES:
        raise ConfigError(
            f"{os.fspath(path)}: the name does not tell the format; end it in {', '.join(EXPLANATION_SUFFIXES)}."
        )
    return suffix
