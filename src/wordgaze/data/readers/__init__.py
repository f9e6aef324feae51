"""Captions on disk: one file for each format."""

from __future__ import annotations

from wordgaze.data.readers import coco, karpathy, sidecar
from wordgaze.data.readers.caption_file import Reader

READERS: dict[str, Reader] = {
    "sidecar": sidecar.READER,
    "karpathy": karpathy.READER,
    "coco": coco.READER,
}
"""The caption formats by name, and the place for more: write a ``read`` that returns the photos with their
captions as they stand. Spaces, empty captions, doubled ids, missing files and the description are seen to for
all of them. They are asked in this order; those that look into the JSON refuse what is not JSON, so put
others before them."""
