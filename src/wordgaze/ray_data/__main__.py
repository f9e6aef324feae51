"""Caption a folder or list of photos on a Ray cluster, by default one of two workers on this machine.

The rows are those of `wordgaze caption --out-dir`, in no order, in Parquet files in DIR/rows. The same command
resumes. On a cluster, all machines must see the photos, the model and DIR under the same paths.
"""

from __future__ import annotations

import logging
import math
import os
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path

from wordgaze.captioning.shards.tars import tar_stem
from wordgaze.data.listing import photos_in
from wordgaze.errors import ConfigError, WordgazeError

# Only paths and rows travel.
_STORE_BYTES = 200 * 1024**2


def main(arguments: list[str] | None = None) -> int:
    """Caption what the arguments name; return 0, 1 where a photo has no caption, or 2 for what can't be done."""
    values = _parser().parse_args(arguments)
    try:
        captioned, photos = _run(values)
    except WordgazeError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    print(f"{captioned:,} of {photos:,} photos captioned", file=sys.stderr)
    return 0 if captioned == photos else 1


def _parser() -> ArgumentParser:
    parser = ArgumentParser("python -m wordgaze.ray_data", description=__doc__)
    parser.add_argument("paths", nargs="*", metavar="PATH", help="a photo or folder")
    parser.add_argument("--files-from", action="append", default=[], metavar="LIST", help="a file that names photos")
    parser.add_argument("--out-dir", required=True, metavar="DIR", help="an empty folder, or that of an earlier run")
    parser.add_argument("--address", help="of a cluster (auto: this machine's); default: RAY_ADDRESS, or none")
    parser.add_argument(
        "--workers", type=_count, default=2, metavar="N", help="processes with a model each; default: 2"
    )
    parser.add_argument("--cpus", type=float, default=1, metavar="N", help="of a worker; default: 1")
    parser.add_argument("--gpus", type=float, default=0, metavar="N", help="of a worker, such as 1 or 0.5; default: 0")
    parser.add_argument("--photos", type=_count, default=256, metavar="N", help="of a worker at once; default: 256")
    parser.add_argument("--model", help="as of wordgaze caption; default: the bundled one")
    parser.add_argument("--device", default="auto", help="default: auto")
    parser.add_argument("--precision", default="float32", help="default: float32")
    parser.add_argument("--num-beams", type=_count, metavar="N", help="default: the model's")
    return parser


def _count(text: str) -> int:
    if not (text.isdecimal() and int(text) > 0):
        raise ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def _run(values: Namespace) -> tuple[int, int]:
    for path in values.paths:
        if tar_stem(path) is not None:
            raise ConfigError(
                "This takes no tars; name photos or a folder, or take `wordgaze caption TARS --out-dir DIR --claim`."
            )
    photos = photos_in(values.paths, values.files_from).photos
    try:
        import ray

        from wordgaze.ray_data.run import Model, Workers, caption_photos, prepare
    except ImportError as error:
        raise ConfigError(f"This needs Ray ({error}): pip install 'wordgaze[ray]'.") from None
    workers = Workers(values.workers, values.cpus, values.gpus, values.photos)
    options = {} if values.num_beams is None else {"num_beams": values.num_beams}
    model = Model(values.model, values.device, values.precision, options)
    if values.model is not None and Path(values.model).is_dir():
        # Workers start in folders of their own.
        model = Model(str(Path(values.model).absolute()), values.device, values.precision, options)
    out = Path(values.out_dir).absolute()
    prepare(out, photos, model)
    _start_ray(values.address, workers.count * workers.cpus)
    try:
        return caption_photos(photos, out, model, workers)
    except ray.exceptions.RayError as error:
        reason = " ".join(str(error).split())[-500:]
        raise WordgazeError(f"Ray gave up ({reason}); the same command resumes.") from None
    finally:
        ray.shutdown()


def _start_ray(address: str | None, cpus: float) -> None:
    import ray
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.WARNING)
    ray.data.DataContext.get_current().enable_progress_bars = sys.stderr.isatty()
    if address is not None or "RAY_ADDRESS" in os.environ:
        ray.init(address=address, logging_level=logging.WARNING)
        return
    # Two more for the reading and writing, which would wait for the workers' else.
    ray.init(
        "local",
        num_cpus=math.ceil(cpus) + 2,
        include_dashboard=False,
        object_store_memory=_STORE_BYTES,
        logging_level=logging.WARNING,
        log_to_driver=False,
    )


if __name__ == "__main__":
    sys.exit(main())
