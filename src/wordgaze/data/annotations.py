"""The names of captions and boxes in one place; they live in ``captions``, ``instances`` and ``readers``."""

from wordgaze.data.captions import CaptionSet, Source, load_sources, read_captions
from wordgaze.data.instances import Box, Instances, read_instances
from wordgaze.data.json_file import PhotoId, read_json
from wordgaze.data.readers import READERS
from wordgaze.data.readers.caption_file import CaptionedPhoto, CaptionFile, Reader

__all__ = [
    "READERS",
    "Box",
    "CaptionFile",
    "CaptionSet",
    "CaptionedPhoto",
    "Instances",
    "PhotoId",
    "Reader",
    "Source",
    "load_sources",
    "read_captions",
    "read_instances",
    "read_json",
]
