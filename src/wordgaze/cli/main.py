"""``wordgaze``: finds the command, and turns what goes wrong into a sentence and an exit status.

0: all done; 1: some photo failed, the rest is done; 2: the command or its arguments are wrong;
130: interrupted, by SIGINT itself; 141: whoever read the output has gone. A command is imported when it is called, so
that ``wordgaze --help`` waits for no torch.
"""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any

import click

from wordgaze import __version__
from wordgaze.cli.options import common_options, debugging
from wordgaze.errors import ConfigError, WordgazeError, is_out_of_memory
from wordgaze.files import one_line

# Each is `command` in the file of its name.
COMMANDS = {
    "caption": "Caption photos, one per line.",
    "status": "Show how far captioning into --out-dir is.",
    "merge": "Write the captions of all shards into one file.",
    "explain": "Show, for every word, where in the photo the model looked.",
    "train": "Train a model, or resume a run that stopped.",
    "evaluate": "Score a model, or captions in a file.",
    "grounding": "Measure whether maps point at what the words name.",
    "calibrate": "Fit how sure a model may be of its captions.",
    "average": "Save the mean of several models as one model.",
    "bench": "Measure how fast this machine captions.",
    "convert": "Save another library's checkpoint as a model folder.",
    "export": "Save a model as ONNX files, which run without PyTorch.",
    "data": "Check captioned photos, or download COCO.",
    "demo": "Open the demo page on this machine.",
    "doctor": "Show what is installed, and what is missing for which feature.",
}


def _sentence(error: BaseException, command: str | None = None) -> str:
    """Return ``error`` as a sentence for the user of ``command``."""
    if isinstance(error, WordgazeError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        where = "" if error.filename is None else f"{one_line(os.fsdecode(error.filename))}: "
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        return f"{where}{error.strerror}{'; free some space, or choose another output' if full else ''}"
    if is_out_of_memory(error):
        smaller = "--data.batch_size" if command == "train" else "--batch-size, or fewer --num-beams"
        return f"out of memory; try a smaller {smaller}."
    details = " ".join(f"{type(error).__name__}: {error}".split())
    # A missing module of ours is a bug; another one, or a library that does not load, is a broken installation.
    if isinstance(error, ImportError) and not (error.name or "wordgaze").startswith("wordgaze"):
        return f"{error.name} can't be imported ({details}); reinstall wordgaze, or see what `wordgaze doctor` says."
    if isinstance(error, OSError):
        return f"the system refused something ({details}); `wordgaze doctor` says what works on this machine."
    return f"this is a bug in wordgaze ({details}); --debug shows where; please report it."


@contextmanager
def _warnings_for_people(context: click.Context) -> Iterator[None]:
    """Show our own warnings as sentences, and hide those of other libraries, which hold paths and code.

    ``--debug``, ``-W`` and ``PYTHONWARNINGS`` bring back Python's own way.
    """
    pythons_own = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if sys.warnoptions or debugging(context):
            pythons_own(message, category, *where, **more)
        elif category.__module__.partition(".")[0] == "wordgaze":
            click.echo(f"wordgaze: {message}", err=True)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def _open_closed_streams() -> None:
    """Replace a closed stdin, stdout or stderr by the null device.

    Otherwise a file that is opened later gets its number, and what a library prints would land in that file.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = open(os.devnull, mode, encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
            setattr(sys, name, stream)


_NAMES_OF_FILES = ("FILE", "DIR", "OUT", "DIR_OR_ID", "PATH", "SRC")


def _named(_: click.Context, parameter: click.Parameter, value: str | tuple[str, ...] | None) -> Any:
    """Refuse an empty name, as an unset shell variable gives: it would mean the current folder."""
    if value == "" or (isinstance(value, tuple) and "" in value):
        raise click.BadParameter(f"is empty; give a name, or leave {parameter.opts[0]} out.")
    return value


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"wordgaze.cli.{cmd_name}").command
        command.short_help = COMMANDS[cmd_name]
        nested = command.commands.values() if isinstance(command, click.Group) else ()
        for parameter in (parameter for each in (command, *nested) for parameter in each.params):
            if parameter.metavar in _NAMES_OF_FILES and parameter.callback is None:
                parameter.callback = _named
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def main(self, *args: Any, **extra: Any) -> Any:
        _open_closed_streams()
        try:
            return super().main(*args, **extra)
        except SystemExit as error:
            # A shell's loop ends with Ctrl-C only where the signal itself has ended the command.
            if error.code == 130 and not args and extra.get("args") is None and sys.platform != "win32":
                signal.signal(signal.SIGINT, signal.SIG_DFL)
                signal.raise_signal(signal.SIGINT)
            raise
        # Of --help and --version, which invoke does not see.
        except OSError as error:
            _complain(_sentence(error))
            sys.exit(2)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            try:
                with _warnings_for_people(ctx):
                    return super().invoke(ctx)
            finally:
                # A reader that has gone shows here, not while Python shuts down.
                sys.stdout.flush()
        except (click.ClickException, click.Abort, click.exceptions.Exit):
            raise
        except BrokenPipeError:
            # `wordgaze caption photos | head`: nobody reads on. Python flushes once more at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            # The exit status that a shell shows for a process that SIGPIPE ended.
            ctx.exit(141)
        except KeyboardInterrupt:
            click.echo("\nwordgaze: interrupted", err=True)
            ctx.exit(130)
        except Exception as error:
            if debugging(ctx):
                traceback.print_exc()
            _complain(_sentence(error, ctx.invoked_subcommand))
            ctx.exit(2)


def _complain(sentence: str) -> None:
    # On a full disk under stderr the exit status still tells.
    with suppress(OSError):
        click.echo(f"wordgaze: {sentence}", err=True)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="wordgaze", message="%(prog)s %(version)s")
@common_options
def main() -> None:
    """Caption photos, and show, for every word, where in the photo the model looked.

    Results go to stdout, everything else to stderr. Exit status: 0 if all went well, 1 if some photo failed (the others
    are done), 2 if the command or its arguments are wrong.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A file name need not be text: its bytes are printed unchanged. Where stdout is not UTF-8, what it can't
        # hold is escaped.
        utf8 = sys.stdout.encoding.lower().replace("-", "") == "utf8"
        sys.stdout.reconfigure(errors="surrogateescape" if utf8 else "backslashreplace")
    try:
        os.getcwd()
    # Torch's own libraries would end the process.
    except OSError as error:
        raise ConfigError(f"The current folder can't be used ({error.strerror}); change to another one.") from error


if __name__ == "__main__":
    main(prog_name="wordgaze")
