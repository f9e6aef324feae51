"""METEOR and SPICE by the Java programs of pycocoevalcap, each in a process of its own.

A program reads and writes files in a temporary folder, so that no pipe can fill up and nothing is written beside its
jar. It has a time limit, and is killed when we leave. Preparing a metric tries its program on one caption, so that an
error about what is missing comes before any caption is generated. Every error is a ConfigError.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from wordgaze.errors import ConfigError
from wordgaze.evaluation.metric import Score, Scorer, Scores, Words, mean_score

# Seconds, meant for slow and busy machines: only what hangs should meet them.
START_LIMIT = 300.0
# More for every caption.
METEOR_LIMIT, SPICE_LIMIT = 0.2, 3.0

_METEOR_JAR = "meteor/meteor-1.5.jar"
_SPICE_JAR = "spice/spice-1.0.jar"
_SPICE_MODELS = ("spice/lib/stanford-corenlp-3.6.0.jar", "spice/lib/stanford-corenlp-3.6.0-models.jar")
_SPICE_SOURCE = "https://nlp.stanford.edu/software/stanford-corenlp-full-2015-12-09.zip"
# The last Java with the JavaScript engine by which SPICE writes its results.
_SPICE_JAVA = 14


# --- Is everything there? -----------------------------------------------------------------------------------
def _check_meteor() -> None:
    """Raise ConfigError unless Java runs and METEOR's jar is there."""
    _java_version("METEOR")
    _jar("METEOR", _METEOR_JAR)


def _check_spice() -> None:
    """Raise ConfigError unless a Java that SPICE works with runs, and its jar and models are there."""
    version = _java_version("SPICE")
    if version > _SPICE_JAVA:
        raise ConfigError(
            f"SPICE's Java program needs Java 8 to {_SPICE_JAVA}, but the java on the PATH is version {version}; "
            "put an older one first, or leave SPICE out."
        )
    folder = _jar("SPICE", _SPICE_JAR).parents[1]
    missing = [Path(name).name for name in _SPICE_MODELS if not (folder / name).is_file()]
    if missing:
        raise ConfigError(
            f"SPICE needs {' and '.join(missing)} in {folder / 'spice' / 'lib'}, which pycocoevalcap does not include; "
            f"take them from {_SPICE_SOURCE} (384 MB), or leave SPICE out."
        )


def _java_version(metric: str) -> int:
    remedy = f"install a Java runtime, or leave {metric} out"
    java = shutil.which("java")
    if java is None:
        raise ConfigError(f"{metric} needs Java, but there is no java on the PATH; {remedy}.")
    try:
        done = subprocess.run([java, "-version"], capture_output=True, stdin=subprocess.DEVNULL, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        # macOS has a stand-in that only says where to get Java.
        raise ConfigError(f"{metric} needs Java, but {java} does not run; {remedy}.") from None
    match = re.search(rb'version "(?:1\.)?([0-9]+)', done.stderr + done.stdout)
    if match is None:
        raise ConfigError(f"{metric} needs Java, but {java} does not tell its version; {remedy}.")
    return int(match[1])


def _jar(metric: str, name: str) -> Path:
    package = find_spec("pycocoevalcap")
    folders = list(package.submodule_search_locations or ()) if package else []
    if not folders:
        raise ConfigError(
            f"{metric} needs pycocoevalcap, which includes its Java program; pip install pycocoevalcap, or leave "
            f"{metric} out."
        )
    jar = Path(folders[0], name)
    if not jar.is_file():
        raise ConfigError(
            f"{metric} needs {jar}, which is missing; pip install --force-reinstall pycocoevalcap, or leave "
            f"{metric} out."
        )
    return jar


# --- A program's run ----------------------------------------------------------------------------------------
@contextmanager
def _folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="wordgaze-", ignore_cleanup_errors=True) as name:
        yield Path(name)


def _run(metric: str, arguments: Sequence[object], folder: Path, limit: float) -> None:
    """Run Java in ``folder``: stdin is its file ``in``, stdout goes to ``out``, stderr to ``err``."""
    command = ["java", "-Dfile.encoding=UTF-8", f"-Djava.io.tmpdir={folder}", *map(str, arguments)]
    with (
        (folder / "in").open("rb") as stdin,
        (folder / "out").open("wb") as out,
        (folder / "err").open("wb") as err,
    ):
        # A group of its own, so that a ``java`` that is a script goes together with what it started.
        process = subprocess.Popen(command, cwd=folder, stdin=stdin, stdout=out, stderr=err, start_new_session=True)
        try:
            status = process.wait(limit)
        except subprocess.TimeoutExpired:
            raise ConfigError(
                f"{metric}'s Java program ran for more than {limit:.0f} seconds and was stopped; leave {metric} out, "
                "or try it on fewer photos."
            ) from None
        finally:
            if process.poll() is None:
                _kill(process)
    if status != 0:
        lines = [
            line.strip()
            for name in ("err", "out")
            for line in (folder / name).read_text(encoding="utf-8", errors="replace").splitlines()
        ]
        message = next(filter(None, lines), "it said nothing")
        raise ConfigError(f"{metric}'s Java program failed with status {status} ({message:.200}); leave {metric} out.")


def _kill(process: subprocess.Popen[bytes]) -> None:
    if os.name == "posix":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def _garbage(metric: str, answer: str) -> ConfigError:
    return ConfigError(
        f"{metric}'s Java program answered {answer!r:.80}, which is not a score; pip install --force-reinstall "
        f"pycocoevalcap, or leave {metric} out."
    )


# --- METEOR -------------------------------------------------------------------------------------------------
def meteor(references: Sequence[Sequence[Words]]) -> Scorer:
    """Prepare METEOR 1.5 for English, its words normalized (Denkowski and Lavie 2014), as pycocoevalcap calls it."""
    _check_meteor()
    _meteor_counts([["a", "dog"]], [[["a", "dog"]]])

    def score(candidates: Sequence[Words]) -> Scores:
        counts = _meteor_counts(candidates, references)

        def values(rows: np.ndarray) -> np.ndarray:
            return np.array([meteor_value(row) for row in rows.tolist()], float)

        total = meteor_value(counts.sum(0).tolist())
        return {"METEOR": Score(total, values(counts), lambda draws: values(draws @ counts))}

    return score


def _meteor_counts(candidates: Sequence[Words], references: Sequence[Sequence[Words]]) -> np.ndarray:
    """Return METEOR's counts (P, 23) of each caption against its best reference; a set's counts are their sums."""
    with _folder() as folder:
        lines = [
            " ||| ".join(["SCORE", *(_line(words) for words in (*group, caption))])
            for caption, group in zip(candidates, references, strict=True)
        ]
        (folder / "in").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        arguments = ["-Xmx2G", "-jar", _jar("METEOR", _METEOR_JAR), "-", "-", "-stdio", "-l", "en", "-norm"]
        _run("METEOR", arguments, folder, START_LIMIT + METEOR_LIMIT * len(candidates))
        answers = (folder / "out").read_text(encoding="utf-8", errors="replace").splitlines()
    if len(answers) != len(candidates):
        raise _garbage("METEOR", f"{len(answers)} lines for {len(candidates)} captions")
    return np.array([_meteor_row(answer) for answer in answers], float).reshape(-1, 23)


def _line(words: Words) -> str:
    # ||| separates captions in METEOR's input.
    return " ".join(words).replace("|||", "")


def _meteor_row(answer: str) -> list[float]:
    try:
        row = [float(number) for number in answer.split()]
    except ValueError:
        raise _garbage("METEOR", answer) from None
    if len(row) != 23 or not np.isfinite(row).all():
        raise _garbage("METEOR", answer)
    matched, matched_reference = (sum(row[4 + side : 20 : 2]) for side in (0, 1))
    # A caption equal to its reference is not in pieces, alone or in a set.
    if row[20] == 1 and [matched, matched_reference] == row[:2]:
        row[20] = 0
    return row


def meteor_value(counts: Sequence[float]) -> float:
    """Return METEOR of a photo's or a set's counts, by its own parameters.

    See Denkowski and Lavie 2014, section 3 and table 2. ``counts``: words of caption and reference, function words of
    both; for each of four matchers the matched content words of caption and reference, and the matched function words
    of both; then chunks, and matched words of both.
    """
    sides = []
    for side in (0, 1):
        content, function = counts[4 + side : 20 : 4], counts[6 + side : 20 : 4]
        # In this order, in which METEOR's own sum runs: the last bit is the same.
        matched = sum(weight * count * 0.75 for weight, count in zip(_MATCHERS, content, strict=True))
        for weight, count in zip(_MATCHERS, function, strict=True):
            matched += weight * count * (1 - 0.75)
        length = 0.75 * (counts[side] - counts[2 + side]) + (1 - 0.75) * counts[2 + side]
        sides.append(matched / length if length else 0.0)
    precision, recall = sides
    if not precision or not recall:
        return 0.0
    mean = 1 / ((1 - 0.85) / precision + 0.85 / recall)
    pieces = counts[20] / ((counts[21] + counts[22]) / 2)
    return float(mean * (1 - 0.6 * pieces**0.2))


# Equal words, stems, synonyms, paraphrases.
_MATCHERS = (1.0, 0.6, 0.8, 0.6)


# --- SPICE --------------------------------------------------------------------------------------------------
def spice(references: Sequence[Sequence[Words]]) -> Scorer:
    """Prepare SPICE 1.0 (Anderson et al. 2016), as pycocoevalcap calls it, but without a cache on disk."""
    _check_spice()
    _spice_values([["a", "dog"]], [[["a", "dog"]]])

    def score(candidates: Sequence[Words]) -> Scores:
        values = _spice_values(candidates, references)
        return {"SPICE": mean_score(values, float(np.mean(values)))}

    return score


def _spice_values(candidates: Sequence[Words], references: Sequence[Sequence[Words]]) -> np.ndarray:
    """Return the F of all propositions of each caption, (P,)."""
    photos = [
        {"image_id": row, "test": " ".join(caption), "refs": [" ".join(words) for words in group]}
        for row, (caption, group) in enumerate(zip(candidates, references, strict=True))
    ]
    with _folder() as folder:
        (folder / "in").write_text(json.dumps(photos), encoding="utf-8")
        arguments = ["-Xmx8G", "-jar", _jar("SPICE", _SPICE_JAR), "in", "-out", "scores.json", "-silent"]
        _run("SPICE", arguments, folder, START_LIMIT + SPICE_LIMIT * len(candidates))
        try:
            text = (folder / "scores.json").read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            raise _garbage("SPICE", "nothing") from None
    try:
        scores = {item["image_id"]: float(item["scores"]["All"]["f"]) for item in json.loads(text)}
        values = np.array([scores[row] for row in range(len(photos))], float)
    except (ValueError, KeyError, TypeError):
        raise _garbage("SPICE", text) from None
    if not np.isfinite(values).all():
        raise _garbage("SPICE", text)
    return values
