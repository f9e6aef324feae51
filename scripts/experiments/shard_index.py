"""Measures what a training set in tar shards takes before its first step: seconds, and memory.

python -m scripts.experiments.shard_index [--photos N] [--shards N]

Writes shards of small members (a photo of 400 bytes and a caption of 60), reads them as training does, and prints how
much the process has grown by, at its peak, what of this stays, and the bytes for each photo.
"""

from __future__ import annotations

import gc
import io
import resource
import tarfile
import tempfile
from pathlib import Path

from scripts.common.arguments import script_parser
from scripts.common.timing import timed
from wordgaze.data.captions import Source, load_sources
from wordgaze.data.photo_table import PhotoTable


def write_shards(folder: Path, photos: int, shards: int) -> None:
    """Write ``photos`` small photos with a caption each into ``shards`` archives."""
    for shard in range(shards):
        with tarfile.open(folder / f"{shard:05d}.tar", "w") as archive:
            for number in range(shard, photos, shards):
                for suffix, content in (("jpg", b"\xff\xd8" * 200), ("txt", f"caption {number:09d} ".encode() * 3)):
                    member = tarfile.TarInfo(f"{number:09d}.{suffix}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))


def peak() -> int:
    """Return the largest number of bytes that this process has held so far."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    parser = script_parser(__doc__)
    parser.add_argument("--photos", type=int, default=100_000)
    parser.add_argument("--shards", type=int, default=10)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_shards(Path(folder), arguments.photos, arguments.shards)
        gc.collect()
        before = peak()
        seconds, captions = timed(lambda: load_sources([Source(folder)], check_files=True))
        grown = peak() - before
    table = PhotoTable.of(captions.photos)
    stay, photos = table.nbytes, len(table)
    print(f"{photos:,} photos in {arguments.shards:,} shards: read in {seconds:.1f} s")
    print(f"peak {grown / 1e6:.0f} MB, of which {stay / 1e6:.0f} MB stay: {stay / photos:.0f} bytes a photo")


if __name__ == "__main__":
    main()
