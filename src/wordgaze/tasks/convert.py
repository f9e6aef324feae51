"""Writes a model folder of ours from another library's checkpoint, so that its conversion is paid once."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from wordgaze.convert.convert import Conversion
from wordgaze.convert.load import convert_from
from wordgaze.errors import ConfigError, ModelError
from wordgaze.files import AnyPath, check_output_folder, checked_path, one_line
from wordgaze.folder import is_foreign, is_ours, save_folder
from wordgaze.hub import resolve


def convert_to_folder(
    source: AnyPath, out: AnyPath, *, revision: str | None = None, precision: str = "float32"
) -> Conversion:
    """Save in ``out`` the model of a checkpoint's folder or of the hub, whole or not at all; return the conversion.

    ``revision``: a branch, tag or commit of the hub. ``precision``: of the saved weights, ``float32`` or ``float16``.
    Raises ConfigError and ModelError, also where ``out`` holds anything but a model of ours.
    """
    out = checked_path("OUT", out)
    _check_out(out)
    if revision is not None and Path(source).expanduser().exists():
        raise ConfigError(f"{source} is a folder here, which has no revisions; leave --revision out.")
    options = {} if revision is None else {"revision": revision}
    folder = resolve(source, **options)
    if folder.is_dir() and not is_foreign(folder):
        problem = "is a model folder of wordgaze already" if is_ours(folder) else "holds no checkpoint (no config.json)"
        raise ModelError(f"{source} {problem}; name a checkpoint of another library.")
    conversion = convert_from(source, folder, **options)
    missing = [path for path in (out, *out.parents) if not path.exists()]
    try:
        save_folder(conversion.parts, out, dtype=precision)
    except BaseException:
        for path in missing:
            with suppress(OSError):
                path.rmdir()
        raise
    return conversion


def _check_out(out: Path) -> None:
    check_output_folder(out)
    if out.is_dir() and any(out.iterdir()) and not is_ours(out):
        raise ModelError(
            f"{one_line(out)} is not empty, and no model folder of wordgaze; choose another folder, or an empty one."
        )
