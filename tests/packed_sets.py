"""The same photos and captions as tar shards, as Parquet, and as a table whose columns have names of their own."""

from __future__ import annotations

import csv
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

KINDS = ["tar", "parquet", "table"]


def captions_flags(kind: str, folder: Path, captions: Mapping[Path, Sequence[str]]) -> list[str]:
    """Write photos with their captions into ``folder``; return the flags that name them: a table needs two more."""
    if kind == "tar":
        path = folder / "set.tar"
        with tarfile.open(path, "w") as archive:
            for photo, texts in captions.items():
                archive.add(photo, photo.name)
                text = folder / "text"
                text.write_text("\n".join(texts))
                archive.add(text, f"{photo.stem}.txt")
        return ["--captions", str(path)]
    if kind == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        images = [{"bytes": photo.read_bytes(), "path": photo.name} for photo in captions]
        table = pa.table({"image": images, "captions": [list(texts) for texts in captions.values()]})
        pq.write_table(table, folder / "set.parquet", row_group_size=2)
        return ["--captions", str(folder / "set.parquet")]
    [photos] = {photo.parent for photo in captions}
    with (folder / "set.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("bild", "satz"))
        writer.writerows((photo.name, text) for photo, texts in captions.items() for text in texts)
    return ["--captions", str(folder / "set.csv"), "--columns", "bild", "satz", "--images", str(photos)]
