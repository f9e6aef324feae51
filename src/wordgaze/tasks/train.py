"""``wordgaze train``: a config as it is written, the run that it describes, and what is made of it in the end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wordgaze.data.photos import PhotoSource
from wordgaze.folder import ModelParts
from wordgaze.hub import check_push, push_folder
from wordgaze.training.callbacks import OnMessage
from wordgaze.training.config import TrainingConfig
from wordgaze.training.config_file import describe, parse_config
from wordgaze.training.curves import plot_curves
from wordgaze.training.plan import Plan, make_plan
from wordgaze.training.run import TrainingResult, train
from wordgaze.training.run_folder import LOG

if TYPE_CHECKING:
    from PIL import Image

__all__ = [
    "Plan",
    "TrainingResult",
    "describe",
    "draw_caption",
    "make_plan",
    "parse_config",
    "plot_curves",
    "train",
    "train_and_present",
]


def draw_caption(parts: ModelParts, photo: PhotoSource) -> Image.Image:
    """Return the photo with its caption, under the map of each word: a picture for the loggers."""
    from wordgaze.captioner import Captioner

    return Captioner(parts, "cpu").explain(photo).grid()


def train_and_present(
    config: TrainingConfig,
    out: str | Path,
    *,
    restart: bool = False,
    on_message: OnMessage,
    callbacks: Sequence[Any] = (),
    inputs: Iterable[str | Path] = (),
    command: str | None = None,
    push: str | None = None,
) -> TrainingResult:
    """Train as :func:`~wordgaze.training.run.train` does; then draw the curves, and push the model to the hub.

    ``push``: the hub id (owner/name); whether it can be pushed to is asked before the run. Raises ModelError where the
    hub refuses; the model is then in ``out`` all the same.
    """
    if push is not None:
        check_push(push)
    result = train(
        config,
        out,
        restart=restart,
        on_message=on_message,
        callbacks=callbacks,
        inputs=inputs,
        draw=draw_caption,
        command=command,
    )
    if result.first:
        if (result.folder / LOG).exists():  # not of a run of a few steps that nobody has validated
            on_message(f"curves are in {plot_curves(result.folder)}")
        if push is not None:
            on_message(f"pushed to {push_folder(result.folder, push)}")
    return result
