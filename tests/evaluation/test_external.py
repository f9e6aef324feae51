"""METEOR and SPICE with a stand-in for Java that does well, hangs, dies or talks nonsense; METEOR with the true jar."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from scripts.experiments.parity import stanford_jar

from wordgaze.errors import ConfigError
from wordgaze.evaluation import external
from wordgaze.evaluation.external import meteor, meteor_value, spice
from wordgaze.evaluation.score import score_captions

# Plays `java`: says its version, and what METEOR or SPICE would say of captions that share words with references.
STAND_IN = """#!{python} -IS
import json, os, subprocess, sys, time
from pathlib import Path
mode = Path(__file__).with_name("mode").read_text()
if sys.argv[1:] == ["-version"]:
    version = Path(__file__).with_name("version").read_text()
    print(f'openjdk version "{{version}}" 2025-04-15', file=sys.stderr)
    sys.exit(1 if mode == "no java" else 0)
arguments = [word for word in sys.argv[1:] if not word.startswith("-D")]
Path(__file__).with_name("seen.json").write_text(json.dumps({{"arguments": arguments, "folder": os.getcwd()}}))
trial = Path("in").stat().st_size < 100
if mode == "hang" or mode == "hang later" and not trial:
    child = subprocess.Popen(["sleep", "60"])
    Path(__file__).with_name("pids").write_text(f"{{os.getpid()}} {{child.pid}}")
    time.sleep(60)
if mode == "die":
    sys.exit("Exception in thread main: no memory")
if mode == "flood":
    sys.stderr.write("noise " * 200_000)
if "meteor" in arguments[2]:
    for line in sys.stdin:
        _, *references, caption = [part.split() for part in line.split("|||")]
        common = max(len(set(caption) & set(reference)) for reference in references)
        row = [len(caption), len(references[0]), 0, 0, common, common, *[0] * 14, 2, common, common]
        print(*map(float, row[1:] if mode == "garbage" else row))
        if mode == "short":
            break
    if mode == "short":
        print("short")
else:
    photos = json.loads(Path(arguments[3]).read_text())
    shares = [bool(set(p["test"].split()) & set(p["refs"][0].split())) for p in photos]
    found = [{{"image_id": p["image_id"], "scores": {{"All": {{"f": 0.5 * s}}}}}} for p, s in zip(photos, shares)]
    if mode != "short":
        Path(arguments[5]).write_text("{{" if mode == "garbage" else json.dumps(found[::-1]))
"""
REFERENCES = [[["a", "dog", "runs"], ["the", "brown", "dog"]], [["two", "cats"]], [["a", "bus"]]]
CAPTIONS = [["a", "dog"], ["two", "birds"], ["some", "red", "train"]]
METRICS = {"METEOR": meteor, "SPICE": spice}


class StandIn:
    """The folder of the `java` that is on the PATH, and the package it finds jars in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "bin"
        self.package = folder / "site-packages" / "pycocoevalcap"
        self.folder.mkdir()
        java = self.folder / "java"
        java.write_text(STAND_IN.format(python=sys.executable))
        java.chmod(0o755)
        self.behave("well")
        for name in (external._METEOR_JAR, external._SPICE_JAR, *external._SPICE_MODELS):
            (self.package / name).parent.mkdir(parents=True, exist_ok=True)
            (self.package / name).write_text("a jar")

    def behave(self, mode: str, version: str = "1.8.0_312") -> None:
        (self.folder / "mode").write_text(mode)
        (self.folder / "version").write_text(version)

    def written(self) -> set[str]:
        return {str(path) for path in self.package.rglob("*")}


@pytest.fixture
def java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    if os.name != "posix":
        pytest.skip("needs scripts that name their interpreter")
    stand_in = StandIn(tmp_path)
    monkeypatch.setenv("PATH", f"{stand_in.folder}:/usr/bin:/bin")
    monkeypatch.syspath_prepend(stand_in.package.parent)
    return stand_in


def ended(java: StandIn) -> bool:
    """Whether the hanging stand-in and the process it started end soon."""
    pids = [int(pid) for pid in (java.folder / "pids").read_text().split()]
    assert len(pids) == 2
    deadline = time.monotonic() + 20  # a killed process ends when it is its turn
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(map(alive, pids))


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):  # without /proc, the dead can't be told from the waiting
        return False


def test_meteor_of_a_stand_in(java: StandIn) -> None:
    before = java.written()
    score = meteor(REFERENCES)(CAPTIONS)["METEOR"]
    each = [meteor_value([3, 3, 0, 0, *[0] * 16, 2, 0, 0])] * 3
    each[0] = meteor_value([2, 3, 0, 0, 2, 2, *[0] * 14, 2, 2, 2])
    each[1] = meteor_value([2, 2, 0, 0, 1, 1, *[0] * 14, 2, 1, 1])
    assert score.per_photo.tolist() == each and each[0] > each[1] > each[2] == 0
    assert score.total == meteor_value([7, 7, 0, 0, 3, 3, *[0] * 14, 6, 3, 3])
    twice = score.resampled(np.array([[2.0, 0, 1], [1, 1, 1]]))
    assert twice.tolist() == [meteor_value([7, 8, 0, 0, 4, 4, *[0] * 14, 6, 4, 4]), score.total]
    assert java.written() == before
    seen = (java.folder / "seen.json").read_text()
    assert str(java.package / "meteor") in seen and '"-l", "en", "-norm"' in seen


def test_spice_of_a_stand_in(java: StandIn) -> None:
    before = java.written()
    score = spice(REFERENCES)(CAPTIONS)["SPICE"]
    assert score.per_photo.tolist() == [0.5, 0.5, 0]
    assert score.total == pytest.approx(1 / 3)
    assert java.written() == before
    assert "-cache" not in (java.folder / "seen.json").read_text()


def test_nothing_is_left_in_the_temporary_folder(
    java: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    for prepare in METRICS.values():
        prepare(REFERENCES)(CAPTIONS)
        assert str(tmp_path / "temporary") in (java.folder / "seen.json").read_text()
    assert list((tmp_path / "temporary").iterdir()) == []


def test_both_by_name_beside_the_others(java: StandIn) -> None:
    references = {1: ["A dog runs.", "the brown dog"], 2: ["Two cats!"]}
    scores = score_captions({1: "a dog", 2: "two birds"}, references, metrics=["SPICE", "CIDEr", "METEOR"])
    assert list(scores.metrics) == ["SPICE", "CIDEr", "METEOR"]
    assert scores.metrics["SPICE"] == 0.5 and 0 < scores.metrics["METEOR"] < 1


@pytest.mark.parametrize("metric", METRICS)
def test_much_said_on_stderr_fills_no_pipe(java: StandIn, metric: str) -> None:
    java.behave("flood")
    assert METRICS[metric](REFERENCES)(CAPTIONS)[metric].total > 0


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("die", "Java program failed with status 1 (Exception in thread main: no memory); leave "),
        ("garbage", "which is not a score; pip install --force-reinstall pycocoevalcap"),
        ("short", "which is not a score; pip install --force-reinstall pycocoevalcap"),
        ("no java", "does not run; install a Java runtime"),
    ],
)
def test_what_goes_wrong_is_said_before_there_are_captions(java: StandIn, metric: str, mode: str, message: str) -> None:
    java.behave(mode)
    with pytest.raises(ConfigError) as error:
        METRICS[metric](REFERENCES)
    assert metric in str(error.value) and message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("metric", METRICS)
def test_a_program_that_hangs_is_stopped_with_all_it_started(
    java: StandIn, metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = METRICS[metric](REFERENCES)
    java.behave("hang later")
    for limit in ("METEOR_LIMIT", "SPICE_LIMIT"):
        monkeypatch.setattr(external, limit, 0)
    many = [[*words, *["and", "more"] * 40] for words in CAPTIONS]
    monkeypatch.setattr(external, "START_LIMIT", 3)
    start = time.monotonic()
    with pytest.raises(ConfigError, match=f"{metric}'s Java program ran for more than 3 seconds and was stopped"):
        prepared(many)
    assert time.monotonic() - start < 30
    assert ended(java)


def test_an_interrupt_stops_it_too(java: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    java.behave("hang")

    wait = subprocess.Popen.wait

    def interrupt(process: subprocess.Popen, timeout: float | None = None) -> int:
        if timeout is None or "-version" in process.args:
            return wait(process, timeout)
        while not (java.folder / "pids").exists():
            time.sleep(0.05)
        raise KeyboardInterrupt

    monkeypatch.setattr("subprocess.Popen.wait", interrupt)
    with pytest.raises(KeyboardInterrupt):
        meteor(REFERENCES)
    assert ended(java)


def test_what_is_missing_is_said_in_a_sentence(java: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    (java.package / external._SPICE_MODELS[1]).unlink()
    with pytest.raises(ConfigError, match=r"SPICE needs stanford-corenlp-3\.6\.0-models\.jar in .*384 MB"):
        spice(REFERENCES)
    (java.package / external._METEOR_JAR).unlink()
    with pytest.raises(ConfigError, match=r"METEOR needs .*meteor-1\.5\.jar, which is missing"):
        meteor(REFERENCES)
    monkeypatch.setattr(external, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"METEOR needs pycocoevalcap.*pip install pycocoevalcap"):
        meteor(REFERENCES)
    monkeypatch.setenv("PATH", "")
    for metric, prepare in METRICS.items():
        with pytest.raises(ConfigError, match=f"{metric} needs Java, but there is no java on the PATH"):
            prepare(REFERENCES)


@pytest.mark.parametrize(("version", "works"), [("1.8.0_312", True), ("14.0.2", True), ("17.0.15", False)])
def test_spice_works_with_old_java_only(java: StandIn, version: str, works: bool) -> None:
    java.behave("well", version)
    assert meteor(REFERENCES)
    if works:
        assert spice(REFERENCES)
    else:
        with pytest.raises(ConfigError, match="needs Java 8 to 14, but the java on the PATH is version 17"):
            spice(REFERENCES)


def test_bars_in_a_caption_part_nothing(java: StandIn) -> None:
    score = meteor([[["a", "dog", "<|||>"]]])([["a", "dog", "<|||>"]])["METEOR"]
    assert score.total == meteor_value([3, 3, 0, 0, 3, 3, *[0] * 14, 2, 3, 3])


# --- The true jar, where it is ----------------------------------------------------------------------------------------


def _random_captions(seed: int) -> tuple[list[list[str]], list[list[list[str]]]]:
    rng = random.Random(seed)
    common = "a, the, on, of, man, men, dog, dogs, runs, running, sits, red, big, large, ball, near, to, grass, sofa"
    words = common.split(", ")

    def caption() -> list[str]:
        return rng.choices(words, weights=range(len(words), 0, -1), k=rng.randint(1, 12))

    references = [[caption() for _ in range(rng.randint(1, 5))] for _ in range(60)]
    captions = [caption() for _ in references]
    captions[3], captions[4] = list(references[3][0]), []  # a perfect one, an empty one
    return captions, references


@pytest.mark.slow
@pytest.mark.skipif(stanford_jar() is None, reason="needs Java and pycocoevalcap, which brings METEOR's jar")
def test_equal_to_pycocoevalcap_s_meteor() -> None:
    theirs = pytest.importorskip("pycocoevalcap.meteor.meteor")
    captions, references = _random_captions(1)
    draw = np.random.default_rng(0).multinomial(60, np.full(60, 1 / 60))
    drawn = [photo for photo, times in enumerate(draw) for _ in range(times)]
    scorer = theirs.Meteor()

    def their_score(photos: list[int]) -> tuple[float, list[float]]:
        return scorer.compute_score(
            {row: [" ".join(words) for words in references[photo]] for row, photo in enumerate(photos)},
            {row: [" ".join(captions[photo])] for row, photo in enumerate(photos)},
        )

    total, each = their_score(list(range(60)))
    ours = meteor(references)(captions)["METEOR"]
    assert ours.per_photo.tolist() == each
    assert ours.total == total
    assert ours.resampled(draw[None].astype(float)).tolist() == [their_score(drawn)[0]]
