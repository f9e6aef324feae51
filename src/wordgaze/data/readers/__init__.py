"""Captions on disk: one file for each format."""

from __future__ import annotations

from wordgaze.data.readers import coco, flickr, json_lines, karpathy, parquet, sidecar, table, webdataset
from wordgaze.data.readers.caption_file import Reader

READERS: dict[str, Reader] = {
    "sidecar": sidecar.READER,
    "karpathy": karpathy.READER,
    "coco": coco.READER,
    "jsonl": json_lines.READER,
    "table": table.READER,
    "flickr": flickr.READER,
    "webdataset": webdataset.READER,
    "parquet": parquet.READER,
}
"""The caption formats by name, asked in this order. To add one, write a ``read`` that returns the photos with their
captions as they stand; spaces, empty captions, repeated ids, missing files and the description are handled for all of
them. Those that look into the JSON refuse what begins as JSON and is broken."""
