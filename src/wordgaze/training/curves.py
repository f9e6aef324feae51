"""A run's ``log.csv`` as one picture: loss, scores, different captions and learning rate by step."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wordgaze.errors import ConfigError
from wordgaze.files import check_outputs, write_whole
from wordgaze.training.run_folder import CURVES, LOG

_Points = Sequence[tuple[int, float]]
_SMOOTHED = 20
"""At most so many rows of the log are in a mean of the loss."""


def plot_curves(folder: Path) -> Path:
    """Draw the run in ``folder``, finished or not, into ``curves.png`` there; return that file.

    Raises ConfigError where there is no log of a run.
    """
    rows = _read_log(folder / LOG)
    target = folder / CURVES
    check_outputs([target], [folder / LOG])
    # Not pyplot, which holds each figure, and asks for a display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6.4), layout="constrained")
    panels = figure.subplots(2, 2, sharex=True)
    for axes, title in zip(panels.flat, ("loss", "CIDEr", "different captions", "learning rate"), strict=True):
        axes.set_title(title, loc="left", fontsize=10)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    loss, cider, distinct, rate = panels.flat
    _draw_loss(loss, _points(rows, "loss"))
    for axes, start in ((cider, "CIDEr/"), (distinct, "distinct/")):
        for column in (name for name in rows[0] if name.startswith(start)):
            _draw(axes, _points(rows, column), column.removeprefix(start), marker="o", markersize=3)
        if axes.get_lines():
            axes.legend(frameon=False, fontsize=8)
    distinct.set_ylim(0, 1.02)
    _draw(rate, _points(rows, "learning_rate"), "")
    for axes in panels[1]:
        axes.set_xlabel("step")
    figure.suptitle(folder.resolve().name, x=0.01, ha="left", fontsize=11)
    canvas = FigureCanvasAgg(figure)
    write_whole(target, lambda file: canvas.print_png(file))
    return target


def _read_log(log: Path) -> list[dict[str, str]]:
    try:
        with log.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError:
        raise ConfigError(
            f"{log.parent} has no {log.name}, so there is nothing to plot; name a run's folder."
        ) from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{log} can't be read ({error}); name the folder of a run of `wordgaze train`.") from error
    if not rows or not {"step", "loss"} <= rows[0].keys():
        problem = "has no rows yet" if not rows else "is not one of `wordgaze train`"
        raise ConfigError(f"{log} {problem}; name the folder of a run that has begun.")
    return rows


def _points(rows: Sequence[Mapping[str, str]], column: str) -> _Points:
    """Return the steps and values of a column; the last row of a killed run may lack its end."""
    points = []
    for row in rows:
        try:
            points.append((int(row["step"]), float(row[column])))
        except (KeyError, TypeError, ValueError):
            continue
    return points


def _draw(axes: Any, points: _Points, label: str, **look: Any) -> None:
    if points:
        axes.plot(*zip(*points, strict=True), label=label, linewidth=1.4, **look)


def _draw_loss(axes: Any, points: _Points) -> None:
    """Draw the loss of single steps, pale, and the mean of the rows before each: a tenth of all."""
    count = min(_SMOOTHED, len(points) // 10)
    if count < 2:
        _draw(axes, points, "")
        return
    axes.plot(*zip(*points, strict=True), linewidth=0.6, alpha=0.35, color="C0")
    values = [value for _, value in points]
    means = [sum(values[i : i + count]) / count for i in range(len(values) - count + 1)]
    axes.plot([step for step, _ in points[count - 1 :]], means, linewidth=1.6, color="C0")
