"""A copy of annotations without what a check found wrong."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from wordgaze.data.check.captions import as_meant, why_misread
from wordgaze.data.check.contents import Contents
from wordgaze.data.check.findings import Finding
from wordgaze.data.json_file import PhotoId, id_of
from wordgaze.data.readers.caption_file import CaptionedPhoto

_LOSES_PHOTO = ("missing-photo", "unreadable-photo", "no-caption", "across-splits", "same-photo")
_LOSES_CAPTION = ("empty-caption", "not-text", "encoding", "duplicate-caption")


@dataclass(frozen=True)
class CleanCopy:
    """``content``: JSON, in the file's own format if that is COCO's or Karpathy's, else in COCO's.

    ``left_out``: how many photos and captions of each kind; ``mended``: captions whose encoding was undone.
    """

    content: dict[str, Any]
    format: str
    photos: int
    captions: int
    left_out: dict[str, int]
    mended: int


def clean_copy(contents: Contents, findings: Iterable[Finding]) -> CleanCopy:
    """Return the annotations of ``contents`` without what is wrong by ``findings``; what is doubtful stays."""
    photos_lost: dict[int, str] = {}
    captions_lost: dict[tuple[int, int], str] = {}
    for finding in findings:
        if finding.photo is None:
            continue
        if finding.kind in _LOSES_PHOTO:
            photos_lost.setdefault(finding.photo, finding.kind)
        elif finding.kind in _LOSES_CAPTION and finding.caption is not None:
            captions_lost.setdefault((finding.photo, finding.caption), finding.kind)
    kept: dict[PhotoId, list[str | None]] = {}
    left_out: Counter[str] = Counter()
    mended = 0
    for index, photo in enumerate(contents.photos):
        if index in photos_lost:
            left_out[photos_lost[index]] += 1
            continue
        captions: list[str | None] = []
        for number, caption in enumerate(photo.captions):
            kind = captions_lost.get((index, number))
            meant = as_meant(caption) if kind == "encoding" else None
            if meant is not None and not why_misread(meant):
                mended += 1
                captions.append(meant)
            else:
                captions.append(None if kind else caption)
                left_out.update([kind] if kind else [])
        if any(caption is not None for caption in captions):
            kept[photo.photo_id] = captions
        else:
            left_out["no-caption"] += 1
    count = sum(caption is not None for captions in kept.values() for caption in captions)
    content, format = _content(contents, kept)
    return CleanCopy(content, format, len(kept), count, dict(left_out), mended)


def _content(contents: Contents, kept: dict[PhotoId, list[str | None]]) -> tuple[dict[str, Any], str]:
    if contents.format == "coco":
        return _coco(contents, kept), "coco"
    if contents.format == "karpathy":
        return _karpathy(contents, kept), "karpathy"
    return _new_coco([photo for photo in contents.photos if photo.photo_id in kept], contents, kept), "coco"


def _coco(contents: Contents, kept: dict[PhotoId, list[str | None]]) -> dict[str, Any]:
    path, content = contents.path, contents.file.json
    seen: defaultdict[PhotoId, int] = defaultdict(int)
    annotations = []
    for annotation in content["annotations"]:
        photo_id = _known(id_of(path, "annotations", annotation, "image_id"), kept)
        if photo_id is None:
            continue
        caption = kept[photo_id][seen[photo_id]]
        seen[photo_id] += 1
        if caption is not None:
            annotations.append({**annotation, "caption": caption})
    images, ids = [], set()
    for image in content["images"]:
        photo_id = id_of(path, "images", image, "id")
        if photo_id in kept and photo_id not in ids:
            ids.add(photo_id)
            images.append(image)
    return {**content, "images": images, "annotations": annotations}


def _known(photo_id: PhotoId, kept: dict[PhotoId, list[str | None]]) -> PhotoId | None:
    """Return the id as the photo has it: annotations may write 7 for "7"."""
    forms: list[PhotoId] = [photo_id, str(photo_id)]
    if isinstance(photo_id, str) and photo_id.strip().isdecimal():
        forms.append(int(photo_id))
    return next((form for form in forms if form in kept), None)


def _karpathy(contents: Contents, kept: dict[PhotoId, list[str | None]]) -> dict[str, Any]:
    images = []
    for image in contents.file.json["images"]:
        captions = kept.get(image["cocoid" if "cocoid" in image else "imgid"])
        if captions is not None:
            pairs = zip(image["sentences"], captions, strict=True)
            sentences = [{**sentence, "raw": caption} for sentence, caption in pairs if caption is not None]
            images.append({**image, "sentences": sentences})
    return {**contents.file.json, "images": images}


def _new_coco(
    photos: list[CaptionedPhoto], contents: Contents, kept: dict[PhotoId, list[str | None]]
) -> dict[str, Any]:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for photo in photos:
        name = os.path.relpath(photo.path, contents.root).replace(os.sep, "/")
        images.append({"id": photo.photo_id, "file_name": name})
        for caption in kept[photo.photo_id]:
            if caption is not None:
                annotations.append({"id": len(annotations) + 1, "image_id": photo.photo_id, "caption": caption})
    return {"images": images, "annotations": annotations}
