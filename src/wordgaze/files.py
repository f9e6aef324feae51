"""Files that a user names: an output never overwrites an input, and is written whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import secrets
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, TypeAlias

from wordgaze.errors import ConfigError, shown, wrong_kind

try:
    import fcntl
except ImportError:  # of Windows
    fcntl = None  # type: ignore[assignment]

AnyPath: TypeAlias = "str | os.PathLike[str]"

# How the names of files begin and end that are still being written.
_TEMPORARY = (".wordgaze-", ".tmp")

# The other control characters, and what some readers take for a line break: a name must not clear the terminal.
_ESCAPES = str.maketrans(
    {chr(code): f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}
    | {"\u2028": r"\u2028", "\u2029": r"\u2029", "\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"}
)


def one_line(path: AnyPath) -> str:
    r"""Return a file's name for a line of text: its tabs, line breaks and backslashes as ``\t \n \r \\``.

    Other control characters are ``\x1b``, ``\x85``, ..., and Unicode's line and paragraph separators ``\u2028 \u2029``.

    On Windows names hold none of them, and backslashes separate folders, so the name stays as it is.
    """
    return os.fspath(path) if os.sep == "\\" else os.fspath(path).translate(_ESCAPES)


def checked_path(name: str, value: object) -> Path:
    """Return the path given as the argument ``name``; raise ConfigError for what can't be one."""
    if not isinstance(value, str | os.PathLike) or isinstance(os.fspath(value), bytes) or "\0" in os.fspath(value):
        raise wrong_kind(name, value, "a path, as text or a pathlib.Path")
    try:
        os.stat(value)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise ConfigError(f"{name} is {shown(os.fspath(value))}, which is too long for a path; check it.") from None
    return Path(value)


def check_outputs(outputs: Iterable[AnyPath], inputs: Iterable[AnyPath] = ()) -> None:
    """Raise ConfigError where an output can't be written, or would overwrite an input or another output.

    ``inputs``: files, and folders, of which every file counts. Two paths are one file as ``os.path.samefile`` means
    it: through links of both kinds, ``..``, and other spellings of the name. An output's folder must exist.
    """
    targets: dict[str | tuple[int, int], Path] = {}
    for output in map(Path, outputs):
        _check_place(output)
        for key in _keys(output):
            if targets.setdefault(key, output) is not output:
                raise ConfigError(
                    f"{one_line(targets[key])} and {one_line(output)} are the same file, but two outputs are to be "
                    "written; name two files."
                )
    if not targets:
        return
    for path in inputs:
        for file in _files_of(path):
            for key in _keys(file):
                if key in targets:
                    raise ConfigError(_clash(targets[key], file, Path(path)))


def check_output_folder(folder: AnyPath) -> None:
    """Raise ConfigError where ``folder`` can't be written into or, if it does not exist, can't be made."""
    path = Path(folder)
    while not os.path.lexists(path):
        path = path.parent
    if not path.is_dir():
        kind = "a link that leads nowhere" if path.is_symlink() and not path.exists() else "not a folder"
        raise ConfigError(f"{one_line(path)} is {kind}, so nothing can be written there; choose another output.")
    if not os.access(path, os.W_OK | os.X_OK):
        raise ConfigError(f"The folder {one_line(path)} is not writable; choose another output.")


MODEL_FILES = (
    *("config.json", "model.safetensors", "tokenizer.json", "preprocessor.json", "generation.json"),
    *("confidence.json", "README.md"),
)
# What a checkpoint of another library, and an exported model, may hold besides.
_CHECKPOINT_FILES = (
    *("generation_config.json", "preprocessor_config.json", "processor_config.json", "tokenizer_config.json"),
    *("vocab.txt", "vocab.json", "merges.txt", "*.safetensors", "*.safetensors.index.json", "*.bin*"),
    *("onnx.json", "*.onnx"),
)


def model_files(folder: AnyPath | None) -> list[Path]:
    """Return the files that a model folder may hold, to check outputs against; None is the bundled model's.

    Of a checkpoint of another library, what it holds. Other files in the folder don't count: scores of the model may be
    kept there.
    """
    path = Path(folder or Path(__file__).parent / "bundled")
    others = [file for pattern in _CHECKPOINT_FILES for file in path.glob(pattern)] if path.is_dir() else []
    return list(dict.fromkeys([*(path / name for name in MODEL_FILES), *others]))


def write_whole(path: AnyPath, write: Callable[[BinaryIO], object]) -> None:
    """Let ``write`` fill a new file, which then replaces ``path``; a failure leaves ``path`` as it was.

    Through a link its target is replaced. What is not a regular file (``/dev/null``) is written directly, and so is
    what this process has open already (``/dev/stdout``, ``/dev/fd/3``), from its current position. Raises OSError,
    which names ``path``; ``write`` may be called twice.
    """
    try:
        stream = _stream(path)
        if stream is not None:
            sys.stdout.flush()
            with open(os.dup(stream), "wb") as file:
                write(file)
            return
        target = Path(os.path.realpath(path))
        if target.exists() and not target.is_file():
            with target.open("wb") as file:
                write(file)
            return
        _replace(target, write)
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), os.fspath(path)) from error


def _replace(target: Path, write: Callable[[BinaryIO], object]) -> None:
    keep, name = _write_unnamed(target.parent, write) or (None, None)
    try:
        if name is None:
            handle, name = tempfile.mkstemp(prefix=_TEMPORARY[0], suffix=_TEMPORARY[1], dir=target.parent)
            keep = _locked(handle)
            _fill(handle, write)
        os.chmod(name, target.stat().st_mode & 0o7777 if target.exists() else 0o666 & ~_umask())
        os.replace(name, target)
    except BaseException:
        if name is not None:
            os.unlink(name)
        raise
    finally:
        if keep is not None:
            os.close(keep)


def _write_unnamed(folder: Path, write: Callable[[BinaryIO], object]) -> tuple[int, str] | None:
    """Return a new file, open and locked, and the name that it got once it was written.

    So a killed process leaves nothing. None where the system has no such files: all but Linux, and some of its file
    systems.
    """
    try:
        handle = os.open(folder, os.O_TMPFILE | os.O_WRONLY, 0o600)
    except (AttributeError, OSError):
        return None
    keep = os.dup(handle)
    try:
        _fill(handle, write)
        _try_lock(keep)
        name = os.path.join(folder, f"{_TEMPORARY[0]}{os.getpid()}-{secrets.token_hex(4)}{_TEMPORARY[1]}")
    except BaseException:
        os.close(keep)
        raise
    # With a folder's descriptor Python calls linkat, which follows the link in /proc.
    try:
        os.link(f"/proc/self/fd/{keep}", name, src_dir_fd=keep, follow_symlinks=True)
    except OSError:
        os.close(keep)
        return None
    return keep, name


def _locked(handle: int) -> int | None:
    """Return a second handle of a file that it locks; None where the system has no locks, and renames no open files."""
    if fcntl is None:
        return None
    keep = os.dup(handle)
    _try_lock(keep)
    return keep


def remove_leftovers(folders: Iterable[AnyPath]) -> None:
    """Remove what :func:`write_whole` left in folders when its process was killed; not what one is writing now."""
    for folder in folders:
        with suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(_TEMPORARY[0]) and entry.name.endswith(_TEMPORARY[1]):
                    _remove_leftover(entry)


def _remove_leftover(entry: os.DirEntry[str]) -> None:
    with suppress(OSError):
        if entry.is_file(follow_symlinks=False):
            with open(entry.path, "rb") as file:
                if _try_lock(file.fileno()):
                    os.unlink(entry.path)


def lock_file(handle: int) -> bool:
    """Lock an open file for this process, until it closes it; return False where another one has it.

    Also True where the system has no locks.
    """
    return _try_lock(handle) is not False


def _try_lock(handle: int) -> bool | None:
    """Return whether an open file is locked for this process now; None where the system has no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    # Of file systems without locks.
    except OSError:
        return None
    return True


def _fill(handle: int, write: Callable[[BinaryIO], object]) -> None:
    with open(handle, "wb") as file:
        write(file)
        file.flush()
        os.fsync(handle)


def _stream(path: AnyPath) -> int | None:
    """Return which open file of this process a path names, through links too; None for all other paths."""
    name = os.path.abspath(path)
    # As many links as Linux follows.
    for _ in range(40):
        match = re.fullmatch(rf"/(?:dev|proc/(?:self|thread-self|{os.getpid()}))/fd/(\d+)", name)
        if match:
            return int(match[1])
        try:
            name = os.path.normpath(os.path.join(os.path.dirname(name), os.readlink(name)))
        except (OSError, ValueError):
            return None
    return None


def write_text(path: AnyPath, text: str, errors: str = "strict") -> None:
    """Write ``text`` as UTF-8, whole or not at all; ``errors`` as in ``str.encode``. Raises OSError."""
    data = text.encode("utf-8", errors)
    write_whole(path, lambda file: file.write(data))


def _check_place(output: Path) -> None:
    if output.is_dir():
        raise ConfigError(f"{one_line(output)} is a folder, but a file is to be written; name a file.")
    # Through a link its target is written.
    target = Path(os.path.realpath(output))
    if not target.parent.is_dir():
        folder = output.parent if not output.parent.is_dir() else target.parent
        if folder.exists():
            raise ConfigError(
                f"{one_line(folder)} is a file, not a folder; choose another for {one_line(output.name)}."
            )
        raise ConfigError(
            f"There is no folder {one_line(folder)} for {one_line(output.name)}; make it, or choose another."
        )
    if output.exists() and not os.access(output, os.W_OK):
        raise ConfigError(f"{one_line(output)} is not writable; choose another output.")
    if output.is_file() or not output.exists():
        check_output_folder(target.parent)


def _files_of(path: AnyPath) -> Iterator[Path]:
    if not os.path.isdir(path):
        yield Path(path)
        return
    for folder, _, names in os.walk(path):
        for name in names:
            yield Path(folder, name)


def _keys(path: Path) -> Iterator[str | tuple[int, int]]:
    """Yield what identifies a file: its device and inode or, where it does not exist, its path.

    Nothing identifies what is not a regular file: two outputs may both go to ``/dev/null``.
    """
    try:
        status = path.stat()
    except (OSError, ValueError):
        # It does not exist, or its name is not valid.
        yield os.path.realpath(path)
        return
    if path.is_file():
        yield (status.st_dev, status.st_ino)


def _clash(output: Path, file: Path, given: Path) -> str:
    where = "" if given == file else f" in {one_line(given)}"
    same = "" if output == file else f" is the same file as {one_line(file)}, which"
    return f"{one_line(output)}{same} is an input{where} and would be overwritten; choose another output."


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
