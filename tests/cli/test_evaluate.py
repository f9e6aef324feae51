"""``wordgaze evaluate``: both ways in, and what comes out."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.packed_sets import KINDS, captions_flags

from wordgaze.captioner import Captioner
from wordgaze.cli.main import main
from wordgaze.errors import PhotoError
from wordgaze.evaluation.score import METRICS

NAMES = ["g.png", "c.png", "e.png"]


@pytest.fixture
def captions(tmp_path: Path) -> Path:
    path = tmp_path / "captions.json"
    images = [{"id": number, "file_name": name} for number, name in enumerate(NAMES)]
    annotations = [{"id": n, "image_id": n % 3, "caption": f"a red dog number {n}"} for n in range(6)]
    path.write_text(json.dumps({"images": images, "annotations": annotations}))
    return path


def evaluate(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["evaluate", *map(str, arguments)])


def test_a_model_and_its_own_results_score_the_same(
    model_folder: Path, mixed: Path, captions: Path, tmp_path: Path
) -> None:
    flags = ["--model", model_folder, "--device", "cpu", "--num-beams", 1]
    result = evaluate("--images", mixed, "--captions", captions, *flags, "--json", tmp_path / "model.json")
    assert result.exit_code == 0, result.stderr
    captioner = Captioner.from_pretrained(model_folder, "cpu")
    found = [captioner.caption(mixed / name, num_beams=1).text for name in NAMES]
    results = tmp_path / "results.json"
    results.write_text(json.dumps([{"image_id": n, "caption": text} for n, text in enumerate(found)]))
    again = evaluate("--results", results, "--captions", captions, "--json", tmp_path / "file.json")
    assert again.exit_code == 0 and again.stdout == result.stdout
    values = json.loads((tmp_path / "model.json").read_text())
    assert values == json.loads((tmp_path / "file.json").read_text())
    assert list(values) == [
        "metrics",
        "intervals",
        "images",
        "references",
        "distinct",
        "repeats",
        "words_per_caption",
        "fingerprint",
    ]
    assert (values["images"], values["references"], values["distinct"]) == (3, 6, len(set(found)))
    rows = dict(line.split()[:2] for line in result.stdout.splitlines()[1:])
    assert rows["CIDEr"] == f"{values['metrics']['CIDEr']:.4f}" and rows["images"] == "3"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    path = tmp_path / "results.json"
    path.write_text(json.dumps([{"image_id": n, "caption": f"a red dog number {n}"} for n in range(3)]))
    return path


def test_metrics_that_are_asked_for_and_each_photo(captions: Path, results: Path, tmp_path: Path) -> None:
    out = tmp_path / "each.csv"
    result = evaluate("--results", results, "--captions", captions, "--metrics", "cider,rouge_l", "--per-image", out)
    assert [line.split()[0] for line in result.stdout.splitlines()[1:3]] == ["CIDEr", "ROUGE_L"]
    assert result.stderr.startswith("wordgaze: CIDEr means little with 3 photos: ")
    with out.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [Path(row["file"]).name for row in rows] and {row["image_id"] for row in rows} == {"0", "1", "2"}
    assert {"CIDEr", "ROUGE_L"} < set(rows[0]) and "Bleu_1" not in rows[0]


def test_captions_of_other_photos_are_mentioned(captions: Path, results: Path) -> None:
    results.write_text(json.dumps([*json.loads(results.read_text()), {"image_id": 7, "caption": "a bus"}]))
    result = evaluate("--results", results, "--captions", captions)
    assert result.exit_code == 0
    assert result.stderr.startswith(f"wordgaze: {results}: 1 caption is of a photo") and "left out" in result.stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "either --images DIR"),
        (["--images", "{mixed}", "--results", "{results}"], "either --images DIR"),
        (["--results", "{results}", "--model", "m"], "leave out --model."),
        (["--results", "{results}", "--num-beams", "3"], "leave out --num-beams."),
        (["--results", "{results}", "--precision", "float32"], "leave out --precision."),
        (
            ["--results", "{results}", "--device", "cpu", "--batch-size", "2", "--no-sample"],
            "leave out --device and --sample and --batch-size.",
        ),
        (["--results", "{results}", "--metrics", "wit"], "wit is not a metric; choose from BLEU, "),
        (["--results", "{results}", "--against", "nothere.json"], "nothere.json: can't be read"),
        (["--results", "{results}", "--instances", "nothere.json"], "nothere.json: can't be read"),
        (["--results", "{results}", "--html", "nowhere/page.html"], "no folder nowhere for page.html"),
        (
            ["--results", "{results}", "--per-image", "each.txt"],
            "each.txt: the name does not tell the format",
        ),
        (["--results", "{results}", "--json", "nowhere/scores.json"], "no folder nowhere for scores.json"),
        (["--results", "nothere.json"], "nothere.json: can't be read"),
        (["--images", "{results}"], "no such folder"),
        (["--images", "nothere"], "no such folder"),
    ],
)
def test_a_wrong_command_ends_with_2(
    captions: Path, results: Path, mixed: Path, flags: list[str], message: str
) -> None:
    filled = [flag.format(mixed=mixed, results=results) for flag in flags]
    result = evaluate("--captions", captions, *filled)
    assert result.exit_code == 2 and result.stdout == "", result.stdout
    assert message in result.stderr and "Traceback" not in result.stderr


def test_missing_photos_are_said_before_a_model_is_looked_for(captions: Path, mixed: Path) -> None:
    (mixed / "c.png").unlink()
    result = evaluate("--images", mixed, "--captions", captions, "--model", "./nothere")
    assert result.exit_code == 2
    assert "1 of the 3 photos" in result.stderr and "(c.png)" in result.stderr


def test_everything_at_once(captions: Path, results: Path, mixed: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text(json.dumps([{"image_id": n, "caption": f"a red cat number {n}"} for n in range(3)]))
    boxes = tmp_path / "boxes.json"
    images = [{"id": n, "width": 9, "height": 9} for n in range(2)]
    boxes.write_text(json.dumps({"categories": [{"id": 1, "name": "cat"}], "images": images, "annotations": []}))
    flags = ["--against", other, "--instances", boxes, "--json", tmp_path / "scores.json"]
    result = evaluate("--results", results, "--captions", captions, *flags, "--html", tmp_path / "page.html", "--debug")
    assert result.exit_code == 0, result.stderr
    values = json.loads((tmp_path / "scores.json").read_text())
    scores, comparison = result.stdout.split("\n\n")
    rows = {line.split()[0]: line.split() for line in scores.splitlines()}
    assert rows["CHAIRs"] == ["CHAIRs", "0.0000", "0.000", "to", "0.000"]
    assert rows["fingerprint"] == ["fingerprint", values["fingerprint"]]
    assert values["chair"] == {"images": 2, "mentions": 2}
    against = {line.split()[0]: line.split() for line in comparison.splitlines()}
    assert against["CHAIRs"] == ["CHAIRs", "0.0000", "1.0000", "-1.0000", "-1.000", "to", "-1.000", "100.0%"]
    assert against["Bleu_1"][-1] == "100.0%"
    assert values["against"]["differences"]["CHAIRs"] == {
        "value": -1.0,
        "low": -1.0,
        "high": -1.0,
        "better": 1.0,
    }
    assert "Against" in (tmp_path / "page.html").read_text()


def test_a_model_against_results(
    model_folder: Path, mixed: Path, captions: Path, results: Path, tmp_path: Path
) -> None:
    flags = ["--model", model_folder, "--device", "cpu", "--num-beams", 1, "--against", results]
    result = evaluate("--images", mixed, "--captions", captions, *flags, "--html", tmp_path / "page.html")
    assert result.exit_code == 0, result.stderr
    assert "better" in result.stdout
    assert (tmp_path / "page.html").read_text().count("data:image/jpeg;base64,") == 3


def test_the_scores_need_no_java(captions: Path, results: Path) -> None:
    command = [sys.executable, "-m", "wordgaze", "evaluate", "--results", results, "--captions", captions]
    done = subprocess.run(list(map(str, command)), env={**os.environ, "PATH": ""}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == evaluate("--results", results, "--captions", captions).stdout


@pytest.mark.parametrize("metric", ["METEOR", "SPICE"])
def test_missing_java_is_said_before_a_model_is_looked_for(
    captions: Path, mixed: Path, metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    result = evaluate("--images", mixed, "--captions", captions, "--model", "./nothere", "--metrics", f"CIDEr,{metric}")
    assert result.exit_code == 2 and result.stdout == ""
    assert result.stderr == (
        f"wordgaze: {metric} needs Java, but there is no java on the PATH; install a Java runtime, or leave "
        f"{metric} out.\n"
    )


def test_the_help_names_every_metric() -> None:
    text = " ".join(evaluate("--help").stdout.split())
    assert "BLEU, ROUGE_L, CIDEr, METEOR and SPICE" in text
    assert set(METRICS) == {"BLEU", "ROUGE_L", "CIDEr", "METEOR", "SPICE"}
    assert "[default: BLEU,ROUGE_L,CIDEr]" in text


def test_what_caption_prints_is_scored(model_folder: Path, mixed: Path, captions: Path, tmp_path: Path) -> None:
    flags = ["--model", str(model_folder), "--device", "cpu", "--num-beams", "1"]
    expected = evaluate("--images", mixed, "--captions", captions, *flags)
    photos = [str(mixed / name) for name in [*NAMES, "d2.png"]]  # the last can't be read
    for more in ([], ["--json"]):
        printed = CliRunner().invoke(main, ["caption", *photos, *more, *flags])
        assert printed.exit_code == 1
        results = tmp_path / "printed"
        results.write_text(printed.stdout)
        result = evaluate("--results", results, "--captions", captions)
        assert result.exit_code == 0 and result.stdout == expected.stdout, result.stderr
        assert ("1 more photo without references failed when" in result.stderr) == bool(more)


@pytest.fixture
def everything(captions: Path, results: Path, mixed: Path, model_folder: Path, tmp_path: Path) -> dict[str, Path]:
    """Every input of the command, by a name, and two links."""
    (tmp_path / "link.json").symlink_to(captions)
    os.link(results, tmp_path / "hard.json")
    sidecar = tmp_path / "sidecar"
    sidecar.mkdir()
    (sidecar / "a.png").write_bytes((mixed / "g.png").read_bytes())
    (sidecar / "a.txt").write_text("a red dog")
    inputs = {"captions": captions, "results": results, "photos": mixed, "model": model_folder}
    more = {name: tmp_path / f"{name}.json" for name in ("link", "hard", "out")}
    return {**inputs, **more, "sidecar": sidecar}


@pytest.mark.parametrize(
    "flags",
    [
        "--results {results} --captions {captions} --json {captions}",
        "--results {results} --captions {captions} --per-image {results}",
        "--results {results} --captions {captions} --html {captions}",
        "--results {results} --captions {captions} --json {link}",
        "--results {results} --captions {captions} --json {hard}",
        "--results {results} --captions {captions} --against {link} --json {captions}",
        "--results {results} --captions {captions} --against {out} --json {out}",
        "--results {results} --captions {captions} --instances {out} --json {out}",
        "--results {results} --captions {captions} --json {out} --per-image {out}",
        "--results {results} --captions {captions} --json {photos}/../out.json --html {out}",
        "--images {photos} --captions {captions} --json {photos}/g.png --model {model}",
        "--images {photos} --captions {captions} --html {model}/config.json --model {model}",
        "--images {photos} --captions {captions} --json {model}/model.safetensors --model {model}",
        "--images {sidecar} --captions {sidecar} --json {sidecar}/a.txt --model {model}",
        "--images {sidecar} --captions {sidecar} --html {sidecar}/a.png --model {model}",
    ],
)
def test_no_output_is_an_input(everything: dict[str, Path], flags: str, tmp_path: Path) -> None:
    everything["out"].write_text("[]")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    result = evaluate(*flags.format(**everything).split())
    assert result.exit_code == 2 and result.stdout == ""
    assert "choose another output" in result.stderr or "name two files" in result.stderr, result.stderr
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("flag", ["--json", "--html"])
def test_scores_are_not_written_under_a_photo_s_name(everything: dict[str, Path], mixed: Path, flag: str) -> None:
    """Not every photo of the folder stands in the captions file."""
    other = mixed / "other.JPG"
    other.write_bytes(b"photo")
    result = evaluate("--images", mixed, "--captions", everything["captions"], flag, other)
    assert result.exit_code == 2 and other.read_bytes() == b"photo"
    assert "other.JPG has the suffix of a photo, but the output is text" in result.stderr


def test_outputs_of_before_are_written_again(everything: dict[str, Path], mixed: Path) -> None:
    """Beside the captions, the photos, in the model's folder: only what is read is kept."""
    flags = ["--images", mixed, "--captions", everything["captions"], "--model", everything["model"]]
    flags += ["--device", "cpu", "--num-beams", 1, "--metrics", "ROUGE_L"]
    for _ in range(2):
        result = evaluate(*flags, "--json", mixed / "scores.json", "--html", everything["model"] / "page.html")
        assert result.exit_code == 0, result.stderr
    (everything["model"] / "page.html").unlink()


def test_photos_that_are_cut_short_are_named_or_refused(
    model_folder: Path, mixed: Path, captions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wordgaze.captioning import pipeline
    from wordgaze.data import photos as module

    def converted(
        source: Path, make: Callable[..., Any], on_warning: Callable[[str], None], *, strict: bool, **_: object
    ) -> Any:
        if source.name == "c.png":
            if strict:
                raise PhotoError("is cut short")
            on_warning("is cut short: 99 % of its rows are there")
        return module.convert_photo(source, make, on_warning)

    monkeypatch.setattr(pipeline, "convert_photo", converted)
    flags = ["--images", mixed, "--captions", captions, "--model", model_folder, "--device", "cpu"]
    result = evaluate(*flags, "--num-beams", 1)
    assert result.exit_code == 0
    assert f"wordgaze: {mixed / 'c.png'}: is cut short: 99 %" in result.stderr
    strict = evaluate(*flags, "--strict")
    assert strict.exit_code == 2 and strict.stdout == ""
    assert "c.png: is cut short (one of 3 photos to score)" in strict.stderr
    assert "leave out --strict" in evaluate("--results", captions, "--captions", captions, "--strict").stderr


def test_splits(mixed: Path, model_folder: Path, tmp_path: Path) -> None:
    path, results = tmp_path / "k.json", tmp_path / "r.jsonl"
    images = [
        {"filename": name, "cocoid": n, "split": split, "sentences": [{"raw": f"a red dog number {n}"}]}
        for n, (name, split) in enumerate(zip(NAMES, ("train", "val", "test"), strict=True))
    ]
    path.write_text(json.dumps({"images": images}))
    results.write_text("".join(f'{{"image_id": {n}, "caption": "a dog number {n}"}}\n' for n in range(3)))

    def photos(*flags: object) -> tuple[str, str]:
        result = evaluate("--captions", path, "--metrics", "ROUGE_L", *flags)
        assert result.exit_code == 0, result.stderr
        rows = dict(line.split()[:2] for line in result.stdout.splitlines()[1:])
        return rows["images"], result.stderr

    count, said = photos("--results", results)
    assert count == "1" and f"{path}: the split test is taken; --split names another (train, val)" in said
    assert photos("--results", results, "--split", "val")[0] == "1"
    count, said = photos("--results", results, "--split", "all")
    assert count == "3" and "split" not in said
    model = ("--images", mixed, "--model", model_folder, "--device", "cpu", "--num-beams", 1)
    count, said = photos(*model)
    assert count == "3" and "all splits are taken (test, train, val); --split test takes the test set" in said
    assert photos(*model, "--split", "test")[0] == "1"
    results.write_text('{"image_id": 1, "caption": "a dog"}\n')  # of the validation set
    other = evaluate("--captions", path, "--results", results)
    assert other.exit_code == 2 and "the split test is taken" in other.stderr  # why it has no caption
    (mixed / "g.png").unlink()  # of the training set
    assert photos(*model, "--split", "test")[0] == "1"
    missing = evaluate("--captions", path, *model).stderr
    assert "(in its splits test, train, val; --split takes one) is not in" in missing


@pytest.mark.parametrize("kind", KINDS)
def test_photos_in_archives_and_in_tables_score_as_those_in_a_folder(
    kind: str, photos: list[Path], model_folder: Path, tmp_path: Path
) -> None:
    captions = {photo: [f"a red dog number {n}", "a cat"] for n, photo in enumerate(photos)}
    for photo, texts in captions.items():
        photo.with_suffix(".txt").write_text("\n".join(texts))
    model = ("--model", model_folder, "--device", "cpu", "--num-beams", 1)
    expected = evaluate("--captions", photos[0].parent, "--images", photos[0].parent, *model)
    flags = captions_flags(kind, tmp_path, captions)
    result = evaluate(*flags, *model, "--html", tmp_path / "page.html", "--per-image", tmp_path / "each.json")
    assert result.exit_code == 0, result.output
    without = [line for line in expected.stdout.splitlines() if not line.startswith("fingerprint")]
    assert [line for line in result.stdout.splitlines() if not line.startswith("fingerprint")] == without
    assert (tmp_path / "page.html").read_text().count("<img ") == len(photos)
    names = {Path(row["file"]).name for row in json.loads((tmp_path / "each.json").read_text())}
    assert names == {photo.name for photo in photos}
    result = evaluate(*flags, *model, "--json", flags[1])
    assert result.exit_code == 2 and "is an input and would be overwritten" in result.stderr


def test_results_are_scored_against_a_table_whose_columns_are_named(results: Path, tmp_path: Path) -> None:
    table = tmp_path / "set.csv"
    table.write_text("bild,satz\n" + "".join(f"{n},a red dog number {n}\n" for n in range(3)))
    result = evaluate("--results", results, "--captions", table)
    assert result.exit_code == 2 and "whose columns are known or named" in result.stderr
    result = evaluate("--results", results, "--captions", table, "--columns", "bild", "satz", "--metrics", "BLEU")
    assert result.exit_code == 0, result.output
    rows = dict(line.split()[:2] for line in result.stdout.splitlines()[1:])
    assert (rows["Bleu_4"], rows["images"]) == ("1.0000", "3")
