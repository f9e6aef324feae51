"""A script's arguments, and the check of what it would write."""

from __future__ import annotations

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterable
from pathlib import Path

from wordgaze.errors import ConfigError
from wordgaze.files import AnyPath, check_outputs


def script_parser(about: str | None) -> ArgumentParser:
    """Return a parser whose help shows the module's docstring ``about`` as it stands."""
    return ArgumentParser(description=about, formatter_class=RawDescriptionHelpFormatter)


def check_files(parser: ArgumentParser, outputs: Iterable[AnyPath], inputs: Iterable[AnyPath]) -> None:
    """End the script with status 2, before any work, where an output would overwrite an input.

    Outputs whose folder does not exist yet can't be inputs; the script makes the folder.
    """
    try:
        check_outputs([output for output in outputs if Path(output).parent.is_dir()], inputs)
    except ConfigError as error:
        parser.error(str(error))
