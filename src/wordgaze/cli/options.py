"""The flags that several commands share, as decorators.

Imports no torch: ``wordgaze --help`` and a mistyped flag must answer at once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from wordgaze.data.listing import Listing, photos_in
from wordgaze.device import set_threads

Command = TypeVar("Command", bound=Callable[..., Any])

_DEBUG = "wordgaze.debug"  # the key in click's Context.meta, which the group and its commands share


def debugging(context: click.Context) -> bool:
    """Return whether ``--debug`` was given, before or after the command's name."""
    return bool(context.meta.get(_DEBUG))


def _remember_debug(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        context.meta[_DEBUG] = True


def debug_option(command: Command) -> Command:
    """Add ``--debug``; the command's function gets no argument for it."""
    return click.option("--debug", is_flag=True, expose_value=False, callback=_remember_debug, help="Show tracebacks.")(
        command
    )


def _set_threads(context: click.Context, _: click.Parameter, value: int | None) -> None:
    if value is not None:
        set_threads(value)


def common_options(command: Command) -> Command:
    """Add ``--threads`` and ``--debug``, for every command; its function gets no argument for them."""
    threads = click.option(
        "--threads",
        type=click.IntRange(1, 1024),
        metavar="N",
        expose_value=False,
        callback=_set_threads,
        help="Compute with N threads; use 1 where other programs keep the cores busy. [default: one per core]",
    )
    return threads(debug_option(command))


def _all(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def columns_option(command: Command) -> Command:
    """Add ``--columns``, for captions in tables."""
    return click.option(
        "--columns",
        nargs=2,
        metavar="PHOTO CAPTION",
        help="The columns of a table of captions, where they have names of their own.",
    )(command)


@dataclass(frozen=True)
class PhotoOptions:
    """The values of :func:`photo_options`."""

    paths: tuple[str, ...]
    files_from: tuple[str, ...]
    hidden: bool
    exclude: tuple[str, ...]
    strict: bool

    def listing(self) -> Listing:
        """Return the photos that are named; raise UsageError where none is."""
        if not self.paths and not self.files_from:
            raise click.UsageError("Missing argument 'PATH...' (or --files-from).")
        return photos_in(self.paths, self.files_from, hidden=self.hidden, exclude=self.exclude)


def photo_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the arguments PATH..., ``--files-from``, ``--hidden``, ``--exclude`` and ``--strict``.

    The function gets them as ``photo_values``, a :class:`PhotoOptions`.
    """

    @functools.wraps(command)
    def with_values(
        paths: tuple[str, ...],
        files_from: tuple[str, ...],
        hidden: bool,
        exclude: tuple[str, ...],
        strict: bool,
        **others: Any,
    ) -> None:
        command(photo_values=PhotoOptions(paths, files_from, hidden, exclude, strict), **others)

    return _all(
        click.argument("paths", nargs=-1, metavar="PATH..."),
        click.option(
            "--files-from",
            multiple=True,
            metavar="FILE",
            help="Read more PATHs from FILE (- for stdin), one per line or NUL-separated (find -print0).",
        ),
        click.option(
            "--hidden",
            is_flag=True,
            help="Include hidden files and folders: names with a leading dot, @eaDir, __MACOSX, #recycle, ...",
        ),
        click.option(
            "--exclude",
            multiple=True,
            metavar="PATTERN",
            help="Skip files and folders whose name matches a glob; a glob with a slash is matched against the path "
            "inside PATH: '*_mask.png', 'raw/' (folders only), '/2019/*.gif'. Case-sensitive. May be repeated.",
        ),
        click.option("--strict", is_flag=True, help="Refuse photos that are cut short, however little is missing."),
    )(with_values)


def backend_option(command: Command) -> Command:
    """Add ``--backend``; the command's function gets ``backend``."""
    return click.option(
        "--backend",
        type=click.Choice(["auto", "torch", "onnx"]),
        default="auto",
        show_default=True,
        help="What runs the model: onnx, on the CPU, what `wordgaze export` has written; torch any other.",
    )(command)


def model_options(command: Command) -> Command:
    """Add ``--model``, ``--backend``, ``--device``, ``--precision``, ``--mirrored``, ``--threads`` and ``--debug``.

    The function gets ``model, backend, device, precision, mirrored``.
    """
    return _all(
        click.option(
            "--model",
            metavar="DIR_OR_ID",
            help="A model folder, or a name on the Hugging Face Hub; also of a BLIP or ViT-GPT2 checkpoint, or what "
            "`wordgaze export` has written. [default: the bundled model]",
        ),
        backend_option,
        click.option("--device", help="cpu, cuda, cuda:1, mps, ... [default: the best available]"),
        click.option(
            "--precision",
            type=click.Choice(["float32", "bfloat16", "float16", "auto"]),
            default="float32",
            show_default=True,
            help="Precision of the computation; auto: a lower one where it is faster, with perhaps other captions.",
        ),
        click.option(
            "--mirrored/--no-mirrored",
            default=None,
            help="Look at each photo a second time, mirrored: slower, perhaps better. [default: the model's setting]",
        ),
        common_options,
    )(command)


def _stopping(_: click.Context, __: click.Parameter, value: str | None) -> bool | str | None:
    return {"false": False, "true": True}.get(value or "", value)


def search_options(command: Command) -> Command:
    """Add the flags of generation, each None unless given, for the model's own default.

    The function gets the fields of ``GenerationOptions``; ``given`` drops those that are None. Ranges are checked by
    ``GenerationOptions``, once for the command line and the library.
    """
    return _all(
        click.option("--num-beams", type=int, help="Number of beams in the search; 1 is greedy."),
        click.option("--num-captions", type=int, help="Captions per photo, best first."),
        click.option(
            "--sample/--no-sample",
            default=None,
            help="Sample words instead of searching for the best caption.",
        ),
        click.option("--temperature", type=float, help="For sampling: below 1 is safer, above 1 more surprising."),
        click.option("--top-k", type=int, help="Sample from the k likeliest words; 0 keeps all."),
        click.option(
            "--top-p", type=float, help="Sample from the likeliest words that together have this probability."
        ),
        click.option("--length-penalty", type=float, help="Above 1 favors long captions, below 1 short ones."),
        click.option(
            "--no-repeat-ngram-size",
            type=int,
            help="Never repeat a run of this many tokens; 0 allows repeats.",
        ),
        click.option("--min-length", type=int, help="Minimum length in tokens."),
        click.option("--max-length", type=int, help="Maximum length in tokens."),
        click.option("--seed", type=int, help="Seed for sampling."),
        click.option(
            "--early-stopping",
            type=click.Choice(["false", "true", "never"]),
            callback=_stopping,
            help="When a beam search with enough captions stops: by a heuristic (false), at once (true), or when no "
            "better caption is possible (never).",
        ),
        click.option("--prompt", metavar="TEXT", help='Text that every caption begins with, such as "a picture of".'),
    )(command)


class _BatchSize(click.ParamType):
    """A number of photos, or ``auto``."""

    name = "batch size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if value == "auto" else click.IntRange(min=1).convert(value, param, ctx)


def generation_options(command: Command) -> Command:
    """Add :func:`search_options` and ``--batch-size``."""
    return _all(
        search_options,
        click.option(
            "--batch-size",
            type=_BatchSize(),
            metavar="N|auto",
            help="Photos per batch; auto takes as many as fit the memory, and fewer where it runs out.",
        ),
    )(command)


def given(**options: Any) -> dict[str, Any]:
    """Return the options that were set on the command line."""
    return {name: value for name, value in options.items() if value is not None}
