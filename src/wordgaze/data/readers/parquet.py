"""Parquet files with photos or their names, as Hugging Face's datasets are kept: ``image`` {bytes, path}, a caption."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from wordgaze.data.json_file import PhotoId
from wordgaze.data.packed import ParquetPhoto
from wordgaze.data.parquet_file import LARGEST_GROUP, open_table, rows_of
from wordgaze.data.readers.caption_file import CaptionedPhoto, CaptionFile, Reader
from wordgaze.data.readers.rows import (
    Columns,
    Row,
    columns_of,
    photos_of_rows,
    split_of,
    texts_of,
    unknown_columns,
)
from wordgaze.data.readers.webdataset import shards_of, splits_of_shards
from wordgaze.errors import DataError

_NAMES = "file_name filename path image_path img_path id image_id cocoid imgid".split()
"""The columns that may name a photo whose bytes are in another."""


def _columns(file: CaptionFile, table: Path) -> tuple[Columns, str | None]:
    """Return the table's columns, and which has the photos' bytes, as pyarrow names it; None where it has names."""
    with open_table(table) as opened:
        import pyarrow as pa

        schema = opened.schema_arrow
        columns = columns_of(file, schema.names)
        if columns is None:
            raise unknown_columns(file, schema.names)
        kind = schema.field(columns.photo).type
        is_struct = pa.types.is_struct(kind)
        has_bytes = _is_binary(kind) or (is_struct and kind.get_field_index("bytes") >= 0)
        if not has_bytes and not (_is_text(kind) or (is_struct and kind.get_field_index("path") >= 0)):
            raise DataError(f"{table}: column {columns.photo} is of {kind}; give photos as bytes, or their file names.")
        if has_bytes:
            _check_groups(table, opened.metadata)
        return columns, None if not has_bytes else f"{columns.photo}.bytes" if is_struct else columns.photo


def _is_binary(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _check_groups(table: Path, metadata: Any) -> None:
    """Raise DataError where a row group is too large to be held in memory for one photo of it."""
    for group in range(metadata.num_row_groups):
        size = metadata.row_group(group).total_byte_size
        if size > LARGEST_GROUP:
            raise DataError(
                f"{table}: row group {group} holds {size / 1e9:.1f} GB, too much to be read for one photo; write it "
                "again with row_group_size=100."
            )


def _read(file: CaptionFile) -> Iterator[CaptionedPhoto]:
    names: set[PhotoId] = set()
    for table in shards_of(file):
        columns, content = _columns(file, table)
        if content is None:
            yield from photos_of_rows(file, _rows(table, columns), columns)
        else:
            yield from _packed(file, table, columns, content, names)


def _rows(table: Path, columns: Columns) -> Iterator[Row]:
    wanted = [name for name in columns if name is not None]
    for number, (_, _, values) in enumerate(rows_of(table, wanted)):
        yield Row(f"row {number}", values)


def _packed(
    file: CaptionFile, table: Path, columns: Columns, content: str, names: set[PhotoId]
) -> Iterator[CaptionedPhoto]:
    """Yield the photos whose bytes are in the table; their names, and no bytes, are read now."""
    with open_table(table) as opened:
        schema = opened.schema_arrow
    wanted = [name for name in (columns.caption, columns.split) if name is not None]
    if "." in content:
        wanted.append(f"{columns.photo}.path")
    name_column = next((name for name in _NAMES if name in schema.names and name != columns.photo), None)
    wanted += [name_column] if name_column else []
    for number, (group, row, values) in enumerate(rows_of(table, wanted)):
        if file.split is not None and columns.split is not None and split_of(values, columns) != file.split:
            continue
        image = values.get(columns.photo)
        path = image.get("path") if isinstance(image, Mapping) else None
        name = path or (values.get(name_column) if name_column else None) or number
        photo_id: PhotoId = name if isinstance(name, int) else str(name)
        if photo_id in names:  # a photo in several rows, of which each has its bytes, or another of this name
            name = number
            photo_id = f"{table.name}/{number}"
        names.add(photo_id)
        captions = tuple(texts_of(table, f"row {number}", values.get(columns.caption), columns.caption))
        packed = ParquetPhoto(str(table), content, group, row)
        yield CaptionedPhoto(photo_id, table / str(name), captions, packed)


def _splits(file: CaptionFile) -> tuple[str, ...]:
    if named := splits_of_shards(file):
        return named
    splits: set[str] = set()
    for table in file.files:
        columns, _ = _columns(file, table)
        if columns.split is not None:
            splits |= {split_of(values, columns) for _, _, values in rows_of(table, [columns.split])}
    return tuple(sorted(splits - {""}))


def _recognizes(file: CaptionFile) -> bool:
    return not file.is_folder and file.head.startswith(b"PAR1")


READER = Reader(_recognizes, _read, _splits, "Parquet")
