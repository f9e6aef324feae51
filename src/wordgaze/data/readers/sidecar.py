"""A folder of photos, with a ``.txt`` of captions beside each."""

from __future__ import annotations

from wordgaze.data.listing import find_photos
from wordgaze.data.readers.caption_file import CaptionedPhoto, CaptionFile, Reader
from wordgaze.data.text_file import decode
from wordgaze.errors import DataError


def _read(file: CaptionFile) -> list[CaptionedPhoto]:
    """Return the photos of a folder; ``name.txt`` holds the captions of ``name.jpg``, one a line."""
    if not file.path.is_dir():
        raise DataError(f"{file.path}: not a folder; name the folder that holds the .txt files.")
    photos = []
    for photo in find_photos(file.root):
        name = photo.relative_to(file.root)
        text = (file.path / name).with_suffix(".txt")
        try:
            captions = decode(text, text.read_bytes(), "save it as UTF-8").splitlines()
        except FileNotFoundError:
            captions = []
        except OSError as error:
            raise DataError(f"{text}: can't be read ({error.strerror}); check its permissions.") from None
        photos.append(CaptionedPhoto(name.as_posix(), photo, tuple(captions)))
    return photos


READER = Reader(lambda file: file.is_folder, _read, title="a .txt beside each photo")
