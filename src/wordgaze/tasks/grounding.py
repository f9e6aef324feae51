"""Measures whether a model's maps point at what their words name, on photos with boxes."""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from wordgaze.captioner import BATCH_SIZE, Captioner
from wordgaze.captioning.pipeline import read_photos
from wordgaze.data.captions import CaptionSet
from wordgaze.data.geometry import Geometry
from wordgaze.data.instances import Instances, read_instances
from wordgaze.data.json_file import PhotoId
from wordgaze.data.photo_ids import spellings
from wordgaze.data.readers.caption_file import CaptionedPhoto
from wordgaze.errors import DataError, PhotoWarning, warn
from wordgaze.evaluation.categories import ObjectMention, find_objects
from wordgaze.evaluation.grounding import PointingTrial, Target, View, mean_over_photos, summary
from wordgaze.generation.options import GenerationOptions
from wordgaze.tasks.references import check_categories, files_of, photos_to_caption

# Relative: photos are resized to whole pixels.
_SHAPE_TOLERANCE = 0.02


class BoxedPhoto(NamedTuple):
    """A photo with captions and boxes: ``boxes`` by category, as shares of the photo's width and height."""

    photo: CaptionedPhoto
    size: tuple[int, int]
    boxes: Mapping[str, tuple[tuple[float, float, float, float], ...]]


@dataclass(frozen=True)
class Grounding:
    """The trials on reference captions, and on the model's own.

    ``cut_away``: how many of the reference trials name something outside the model's input.
    """

    method: str
    raw: bool
    references: tuple[PointingTrial, ...]
    generated: tuple[PointingTrial, ...]
    cut_away: int

    def to_dict(self) -> dict[str, Any]:
        """Return what ``wordgaze grounding --json`` writes, with reference captions at the top level.

        ``halves`` are the photos with even and with odd ids; photos whose id is not a number are in neither.
        """
        return {
            "method": self.method,
            "raw": self.raw,
            "cut_away": self.cut_away,
            **_with_halves(self.references),
            "generated": _with_halves(self.generated),
        }


def _with_halves(trials: Sequence[PointingTrial]) -> dict[str, Any]:
    def half(odd: int) -> dict[str, Any]:
        return summary([trial for trial in trials if str(trial.photo).isdigit() and int(str(trial.photo)) % 2 == odd])

    return {**summary(trials), "halves": {"even": half(0), "odd": half(1)}}


def boxed_photos(
    captions: str | os.PathLike[str],
    images: str | os.PathLike[str],
    instances: str | os.PathLike[str],
    split: str | None = None,
) -> tuple[BoxedPhoto, ...]:
    """Return the photos of ``captions`` that have boxes in ``instances``; raise DataError where there are none.

    ``split``: one of the captions file, by default all.
    """
    return with_boxes(photos_to_caption(captions, images, split), captions, instances)


def with_boxes(
    photos: CaptionSet, captions: str | os.PathLike[str], instances: str | os.PathLike[str]
) -> tuple[BoxedPhoto, ...]:
    """Return those of ``photos``, of the file ``captions``, that have boxes; raise DataError where there are none."""
    boxes = read_instances(instances)
    check_categories(boxes, instances, "grounding")
    ids = boxes.ids_of(files_of({photo.photo_id: photo for photo in photos}), instances)
    boxed = tuple(
        _boxed(photo, boxes, ids[photo.photo_id])
        for photo in photos
        if photo.photo_id in ids and boxes.boxes[ids[photo.photo_id]]
    )
    if not boxed:
        names = spellings(photo.photo_id for photo in photos)
        why = (
            f"it lists {len(ids)} of them, without a box"
            if ids
            else f"their ids are {names}, but those of the boxes are {spellings(boxes.sizes) or 'missing'}"
        )
        raise DataError(
            f"None of the {len(photos)} photos of {captions} has boxes in {instances}: {why}; name files of the same "
            "photos."
        )
    return boxed


def _boxed(photo: CaptionedPhoto, instances: Instances, instances_id: PhotoId) -> BoxedPhoto:
    """Return ``photo`` with its boxes; ``instances_id`` is its id in ``instances``."""
    size = width, height = instances.sizes[instances_id]
    by_category = defaultdict(list)
    for box in instances.boxes[instances_id]:
        by_category[box.category].append((box.x / width, box.y / height, box.width / width, box.height / height))
    return BoxedPhoto(photo, size, {category: tuple(boxes) for category, boxes in by_category.items()})


def measure_grounding(
    captioner: Captioner,
    photos: Sequence[BoxedPhoto],
    method: str | None = None,
    *,
    raw: bool = False,
    options: GenerationOptions | None = None,
    batch_size: int | str = BATCH_SIZE,
    advance: Callable[[], None] = lambda: None,
) -> Grounding:
    """Score the maps of words that name a category, in the photos' captions and in the model's own.

    ``method`` and ``raw`` as of ``Captioner.explain``; ``options``: of generation, by default the model's.
    ``advance`` is called after each photo. Raises DataError where a photo can't be read, or does not match its boxes.
    """
    references: list[MappedCaption] = []
    generated: list[MappedCaption] = []
    for batch, pixel_values, scenes in batches(captioner, photos, batch_size):
        texts = [boxed.photo.captions for boxed in batch]
        for explained, captions in (
            (captioner.explain_pixels(pixel_values, texts, method, raw=raw), references),
            (captioner.explain_pixels(pixel_values, None, method, raw=raw, options=options), generated),
        ):
            for scene, maps_of_photo in zip(scenes, explained, strict=True):
                captions += [mapped(scene, maps.texts, maps.maps) for maps in maps_of_photo]
        for _ in batch:
            advance()
    on_references, on_generated = trials(references), trials(generated)
    if not on_references and not on_generated:
        raise DataError(
            f"No caption of these {len(photos)} photos names a thing with a box in its photo; name other photos."
        )
    return Grounding(
        method=captioner.methods[0] if method is None else method,
        raw=raw,
        references=tuple(on_references),
        generated=tuple(on_generated),
        cut_away=sum(
            caption.scene.targets[mention.category].cut_away for caption in references for mention in caption.mentions
        ),
    )


@dataclass(frozen=True, eq=False)
class Scene:
    """A photo to measure on: its id, and where things of each category are."""

    photo_id: PhotoId
    targets: Mapping[str, Target]


def scene_of(boxed: BoxedPhoto, geometry: Geometry, grid: tuple[int, int]) -> Scene:
    """Lay boxes and patches over the photo's own pixels; raise DataError where the boxes are of another photo."""
    (width, height), (boxed_width, boxed_height) = geometry.photo_size, boxed.size
    if abs(width * boxed_height / (height * boxed_width) - 1) > _SHAPE_TOLERANCE:
        raise DataError(
            f"{boxed.photo.path} is {width} x {height} pixels, but its boxes are for {boxed_width} x {boxed_height}; "
            "name the photos that the boxes were drawn on."
        )
    patches = grid[0] * grid[1]
    numbers = np.arange(1, patches + 1, dtype=np.float32).reshape(grid)
    view = View(
        cells=geometry.place(numbers, smooth=False).astype(int),
        points=np.array([geometry.point(row, column, grid) for row, column in np.ndindex(grid)]),
        shown=geometry.inside(grid).ravel(),
    )
    targets = {
        category: Target(view, [(x * width, y * height, w * width, h * height) for x, y, w, h in boxes])
        for category, boxes in boxed.boxes.items()
    }
    return Scene(boxed.photo.photo_id, targets)


def batches(
    captioner: Captioner, photos: Sequence[BoxedPhoto], batch_size: int | str
) -> Iterator[tuple[Sequence[BoxedPhoto], Tensor, list[Scene]]]:
    """Yield batches of photos with their ``pixel_values`` (B, 3, H, W) and scenes."""
    batch_size = captioner.check_batch(batch_size, photos)
    labelled = ((boxed, boxed.photo.source) for boxed in photos)
    smaller = captioner.transform.preprocessing.max_reduction
    with closing(read_photos(labelled, captioner.transform, ahead=batch_size, max_reduction=smaller)) as opened:
        while batch := list(islice(opened, batch_size)):
            pixel_values, scenes = [], []
            for photo in batch:
                path = photo.label.photo.path
                for message in photo.warnings:
                    warn(f"{path}: {message}", PhotoWarning)
                if photo.content is None:
                    raise DataError(f"{path}: {photo.error} (one of {len(photos)} photos to measure).") from photo.error
                pixels, geometry = photo.content
                pixel_values.append(pixels)
                scenes.append(scene_of(photo.label, geometry, captioner.grid))
            yield [photo.label for photo in batch], torch.stack(pixel_values), scenes


@dataclass(frozen=True, eq=False)
class MappedCaption:
    """A caption's words with their maps (words, N), and which of them name a category of its photo's boxes."""

    scene: Scene
    words: tuple[str, ...]
    maps: np.ndarray
    mentions: tuple[ObjectMention, ...]

    def map_of(self, mention: ObjectMention) -> np.ndarray:
        """Return the mean (N,) of its words' maps."""
        return self.maps[mention.start : mention.stop].mean(axis=0)

    def name_of(self, mention: ObjectMention) -> str:
        return " ".join(self.words[mention.start : mention.stop])


def mapped(scene: Scene, words: tuple[str, ...], maps: np.ndarray) -> MappedCaption:
    """Return a caption with its ``maps``, (words, H_p, W_p) or (words, N)."""
    mentions = tuple(mention for mention in find_objects(words) if mention.category in scene.targets)
    return MappedCaption(scene, words, maps.reshape(len(words), math.prod(maps.shape[1:])), mentions)


def trials(captions: Sequence[MappedCaption]) -> list[PointingTrial]:
    """Return a trial for every word of ``captions`` that names a category of its photo's boxes, with its controls.

    The other words are those of the caption that name nothing of that category. Each other photo gives the first map
    of the same word; where no other photo has the word, this control is left out.
    """
    elsewhere: dict[str, dict[PhotoId, np.ndarray]] = defaultdict(dict)
    for caption in captions:
        for mention in caption.mentions:
            elsewhere[caption.name_of(mention)].setdefault(caption.scene.photo_id, caption.map_of(mention))
    results = []
    for caption in captions:
        photo_id = caption.scene.photo_id
        for mention in caption.mentions:
            target = caption.scene.targets[mention.category]
            name = caption.name_of(mention)
            scores = {
                "map": target.scores(caption.map_of(mention)[None])[0],
                "center": target.center,
                "uniform": target.uniform,
            }
            same = {
                index
                for other in caption.mentions
                if other.category == mention.category
                for index in range(other.start, other.stop)
            }
            of_words = [word_map for index, word_map in enumerate(caption.maps) if index not in same]
            of_photos = [word_map for other, word_map in elsewhere[name].items() if other != photo_id]
            for control, maps in (("other_word", of_words), ("other_photo", of_photos)):
                if maps:
                    scores[control] = target.scores(np.stack(maps)).mean(axis=0)
            results.append(PointingTrial(photo_id, mention.category, name, scores))
    return results


SHARES = (0.0, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0)
"""Of the patches that are blanked or shown; closer together where maps differ most."""


@dataclass(frozen=True)
class Faithfulness:
    """Deletion and insertion curves (Petsiuk et al. 2018, section 3.2) of one word a photo.

    ``curves``: ``deletion`` or ``insertion`` → ``map`` or ``random`` → (words, SHARES), the word's probability once
    that share of the patches is blank, or shown on a blank photo; patches with the most attention come first.
    """

    words: tuple[tuple[PhotoId, str], ...]
    curves: Mapping[str, Mapping[str, np.ndarray]]

    def to_dict(self) -> dict[str, Any]:
        """Return the mean curves, the areas under them, and the map's area less the random one, with intervals."""
        photos = [photo_id for photo_id, _ in self.words]
        results: dict[str, Any] = {}
        for kind, curves in self.curves.items():
            areas = {name: np.trapezoid(curve, SHARES, axis=1) for name, curve in curves.items()}
            results[kind] = {
                **{
                    name: {
                        "curve": curve.mean(axis=0).tolist(),
                        "area": mean_over_photos(areas[name], photos),
                    }
                    for name, curve in curves.items()
                },
                "difference": mean_over_photos(areas["map"] - areas["random"], photos),
            }
        return {"words": len(self.words), "shares": list(SHARES), "curves": results}


def measure_faithfulness(
    captioner: Captioner,
    photos: Sequence[BoxedPhoto],
    method: str | None = None,
    *,
    raw: bool = False,
    seed: int = 0,
    advance: Callable[[], None] = lambda: None,
) -> Faithfulness:
    """Measure whether words need the patches that their maps show more than patches drawn with ``seed``.

    Each photo gives the first word of its first caption that names a category with boxes; photos without such a word
    are skipped. Blank is the mean color, as in the padding. Only patches that show any photo are blanked.
    """
    rng = np.random.default_rng(seed)
    words: list[tuple[PhotoId, str]] = []
    curves: dict[tuple[str, str], list[np.ndarray]] = defaultdict(list)
    for (boxed,), pixel_values, scenes in batches(captioner, photos, 1):
        advance()
        text = boxed.photo.captions[0]
        maps = captioner.explain_pixels(pixel_values, [[text]], method, raw=raw)[0][0]
        caption = mapped(scenes[0], maps.texts, maps.maps)
        if not caption.mentions:
            continue
        mention = caption.mentions[0]
        words.append((scenes[0].photo_id, caption.name_of(mention)))
        shown = scenes[0].targets[mention.category].view.shown
        orders = {
            "map": np.argsort(-np.where(shown, caption.map_of(mention), -1), kind="stable")[: shown.sum()],
            "random": rng.permutation(np.flatnonzero(shown)),
        }
        inputs, keys = [], []
        for name, order in orders.items():
            for share in SHARES:
                first = np.isin(np.arange(shown.size), order[: round(share * len(order))])
                for kind, blank in (("deletion", first), ("insertion", ~first)):
                    inputs.append(_blanked(pixel_values[0], blank.reshape(captioner.grid)))
                    keys.append((kind, name))
        probabilities = _probabilities(captioner, torch.stack(inputs), text, mention)
        by_key: dict[tuple[str, str], list[float]] = defaultdict(list)
        for key, probability in zip(keys, probabilities, strict=True):
            by_key[key].append(probability)
        for key, curve in by_key.items():
            curves[key].append(np.array(curve))
    if not words:
        raise DataError("No first caption of these photos names a thing with a box; name other photos.")
    return Faithfulness(
        tuple(words),
        {
            kind: {name: np.stack(curves[kind, name]) for name in ("map", "random")}
            for kind in ("deletion", "insertion")
        },
    )


def _blanked(pixel_values: Tensor, blank: np.ndarray) -> Tensor:
    """Return ``pixel_values`` (3, H, W) with the patches of ``blank`` (H_p, W_p) in the mean color."""
    height, width = pixel_values.shape[1:]
    rows, columns = np.arange(height) * blank.shape[0] // height, np.arange(width) * blank.shape[1] // width
    return pixel_values.masked_fill(torch.from_numpy(blank[np.ix_(rows, columns)]), 0)


def _probabilities(captioner: Captioner, pixel_values: Tensor, text: str, mention: ObjectMention) -> Sequence[float]:
    """Return the probability of a mention's words in ``text`` for each of ``pixel_values`` (B, 3, H, W)."""
    maps = captioner.explain_pixels(pixel_values, [[text]] * len(pixel_values), "last", raw=True)
    mentioned = [maps_of_text.words[mention.start : mention.stop] for (maps_of_text,) in maps]
    return [float(np.prod([word.probability for word in words])) for words in mentioned]
