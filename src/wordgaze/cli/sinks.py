"""The flags of ``wordgaze caption`` that write captions into files, and what is told of such a run.

Imports no torch: a mistyped flag must be answered at once.
"""

from __future__ import annotations

import functools
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from wordgaze.cli.output import progress, tell
from wordgaze.files import model_files

if TYPE_CHECKING:
    from wordgaze.captioner import Captioner
    from wordgaze.captioning.sinks.sink import Sink
    from wordgaze.captioning.xmp.merge import Existing
    from wordgaze.captioning.xmp.write import Where
    from wordgaze.data.listing import Photo
    from wordgaze.generation.options import GenerationOptions
    from wordgaze.signals import StopSignals
    from wordgaze.tasks.folder_run import FolderRun


@dataclass(frozen=True)
class SinkOptions:
    """The values of :func:`sink_options`."""

    out: str | None
    sidecar: str | None
    xmp: Where | None
    existing: Existing | None
    min_confidence: float | None

    def __bool__(self) -> bool:
        return any(value is not None for value in (self.out, self.sidecar, self.xmp))

    def check(
        self, inputs: Sequence[str], model: str | None, retry: str | None, *, prints: bool, in_shards: bool
    ) -> None:
        """Raise UsageError or ConfigError for what makes no sense, before a model is loaded.

        ``inputs``: what must not be overwritten besides the model. ``prints``: whether flags ask for results on stdout.
        ``in_shards``: whether captions go into shards as well.
        """
        flags = {"-o": self.out, "--sidecar": self.sidecar, "--xmp": self.xmp, "--out-dir": in_shards or None}
        writing = [flag for flag, value in flags.items() if value is not None]
        if writing and prints:
            raise click.UsageError(f"{writing[0]} prints nothing; leave out --json and --confidence.")
        if self.existing is not None and self.sidecar is None and self.xmp is None:
            raise click.UsageError("--existing is for --sidecar and --xmp; add one of them.")
        if self.min_confidence is not None and self.xmp is None:
            raise click.UsageError("--min-confidence is for --xmp; add --xmp sidecar or --xmp embed.")
        if retry is not None and self.out is None and not in_shards:
            raise click.UsageError("--retry is for -o and --out-dir, which remember what failed; add one of them.")
        if self.out is not None:
            from wordgaze.tasks.folder_run import check_row_file

            check_row_file(self.out, [*inputs, *model_files(model)])
        if self.sidecar is not None:
            from wordgaze.captioning.sinks.sidecars import check_suffix

            check_suffix(self.sidecar)

    def sinks(
        self,
        captioner: Captioner,
        generation: GenerationOptions,
        model: str | None,
        retry: str | None,
        *,
        strict: bool,
    ) -> list[Sink]:
        """Return the places that captions go to, rows last: a photo with a row has everything else."""
        from wordgaze.captioning.sinks.sidecars import TextSidecars
        from wordgaze.tasks.alt_texts import AltTexts, AltTextSettings
        from wordgaze.tasks.caption_files import run_identity
        from wordgaze.tasks.folder_run import row_sink

        identity = run_identity(captioner, generation, strict=strict)
        sinks: list[Sink] = []
        if self.sidecar is not None:
            sinks.append(TextSidecars(self.sidecar, self.existing or "skip"))
        if self.xmp is not None:
            settings = AltTextSettings(self.xmp, self.existing or "skip", self.min_confidence)
            sinks.append(AltTexts(settings, model, identity.fingerprint))
        if self.out is not None:
            sinks.append(row_sink(self.out, identity, retry=retry is not None))
        return sinks


def sink_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add ``-o``, ``--sidecar``, ``--xmp``, ``--existing`` and ``--min-confidence``.

    The function gets them as ``sink_values``, a :class:`SinkOptions`.
    """

    @functools.wraps(command)
    def with_values(
        out: str | None,
        sidecar: str | None,
        xmp: Where | None,
        existing: Existing | None,
        min_confidence: float | None,
        **others: Any,
    ) -> None:
        command(sink_values=SinkOptions(out, sidecar, xmp, existing, min_confidence), **others)

    options = [
        click.option(
            "-o",
            "--output",
            "out",
            metavar="FILE",
            help="Write a row per photo into FILE.jsonl, FILE.csv or FILE.parquet, and print nothing; the same command "
            "resumes.",
        ),
        click.option(
            "--sidecar",
            metavar="SUFFIX",
            help="Write each caption into a text file beside its photo, with this suffix, such as .txt.",
        ),
        click.option(
            "--xmp",
            type=click.Choice(["sidecar", "embed"]),
            help="Write each caption as alt text into PHOTO.xmp, or into the photo itself, and print nothing.",
        ),
        click.option(
            "--existing",
            type=click.Choice(["skip", "overwrite"]),
            help="Leave sidecars that hold text, and alt texts of ours, as they are (the default), or replace them; a "
            "person's alt texts always stay.",
        ),
        click.option(
            "--min-confidence",
            type=click.FloatRange(0, 1),
            help="With --xmp: leave captions of less confidence out of the metadata, and list them.",
        ),
    ]
    for option in reversed(options):
        with_values = option(with_values)
    return with_values


def write_captions(
    captioner: Captioner,
    photos: Sequence[Photo],
    generation: GenerationOptions,
    sinks: Sequence[Sink],
    signals: StopSignals,
    **others: Any,
) -> int:
    """Caption photos into sinks; tell on stderr of each photo what people should know, and a summary.

    Return the exit status. ``others``: as of :func:`wordgaze.tasks.caption_files.caption_files`.
    """
    from wordgaze.tasks.folder_run import FolderRun

    with closing(FolderRun.prepare(photos, sinks)) as run:
        for photo, messages in run.settled:
            _tell_all(photo, messages)
        with progress(len(run.photos), lines=False) as advance:
            for photo, messages in run.captions(captioner, generation, stopping=signals.stopping, **others):
                _tell_all(photo, messages)
                advance()
        run.finish(complete=not signals.stopping())
        for line in _summary(run):
            click.echo(f"wordgaze: {line}", err=True)
        tell_stopped(signals)
        return 1 if run.tally.failed else 0


def tell_stopped(signals: StopSignals) -> None:
    """Print on stderr that a signal has ended a run before its last photo, if one has."""
    if signals.received is not None:
        name = signal.Signals(signals.received).name
        click.echo(f"wordgaze: stopped by {name}; the same command resumes", err=True)


def _tell_all(photo: Photo, messages: Sequence[str]) -> None:
    for message in messages:
        tell(photo, message)


def _summary(run: FolderRun) -> Iterator[str]:
    """Yield the lines that say what became of the photos, and why some failed."""
    if failed := run.tally.describe_failed():
        yield f"failed: {failed}"
    statuses = {"skipped": "skipped (captioned before)", "kept": "kept (a person's)", "unsure": "not sure enough"}
    for sink in run.sinks:
        counts = run.tally.statuses.get(sink.name, Counter())
        order = ("written", "skipped", "kept", "unsure", "failed")
        parts = [f"{counts[status]:,} {statuses.get(status, status)}" for status in order if counts.get(status)]
        yield f"{sink.name}: {', '.join(parts) or 'no photos'}"
