"""The card and its measurements: from a model and photos to the text, by the commands as they are printed."""

from __future__ import annotations

import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner
from scripts.bundled import card as cards
from scripts.bundled import make, measure, results
from scripts.bundled.stages import Stage, command
from scripts.common.markdown import WIDTH, wrapped
from tests.model_folder import draw_photo, make_parts

from wordgaze.captioner import Captioner
from wordgaze.cli.main import main as wordgaze
from wordgaze.folder import CONFIDENCE, FILES, load_folder
from wordgaze.hub import bundled_folder
from wordgaze.model.caption_model import CaptionModel
from wordgaze.tasks.calibrate import CalibrationPhoto, read_calibration_photos
from wordgaze.tasks.train import describe, parse_config

PHOTOS = 60  # of each set
CARDS = Path(__file__).with_name("cards")
ROWS = "CIDEr,epoch,seconds,step"


class Work(NamedTuple):
    """What the commands leave: the model folder, the measurements, the run with its config, the printed lines."""

    model: Path
    measured: Path
    config: Path
    run: Path
    instances: Path
    printed: str


@pytest.fixture(scope="module")
def work(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Work:
    """Measured: photos of which half are described as the model does, the others as nobody would."""
    folder = tmp_path_factory.mktemp("work")
    model, data, out = folder / "model", folder / "data", folder / "measured"
    shutil.copytree(model_folder, model)
    captioner = Captioner.from_pretrained(model, "cpu")
    for number, name in enumerate(measure.SETS):
        (data / name / "photos").mkdir(parents=True)
        first = 1000 * number
        files = [draw_photo(data / name / "photos" / f"{first + i}.png", first + i) for i in range(PHOTOS)]
        texts = [caption.text for caption in captioner.caption(list(files))]
        images = [{"id": int(file.stem), "file_name": file.name} for file in files]
        annotations = [
            {"id": 10 * int(file.stem) + turn, "image_id": int(file.stem), "caption": caption}
            for index, (file, text) in enumerate(zip(files, texts, strict=True))
            for turn, caption in enumerate(
                [f"{text} dog", f"{text} and a dog"] if index % 2 else ["a kite flies", "many horses"]
            )
        ]
        (data / name / "captions_val.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    boxes: dict[str, Any] = {
        "images": [{"id": 1000 + index, "width": 120, "height": 90} for index in range(30)],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [{"id": 1, "image_id": 1003, "category_id": 1, "bbox": [0, 0, 9, 9]}],
    }
    instances = data / "coco" / "instances_val.json"
    instances.write_text(json.dumps(boxes))
    for arguments in measure.commands(model, out, data, "cpu"):
        assert arguments[:2] == ["-m", "wordgaze"]
        result = CliRunner().invoke(wordgaze, arguments[2:])
        assert result.exit_code == 0, result.output
    return Work(model, out, *run_of(folder, data / "flickr" / "captions_val.json"), instances, result.stdout)


def run_of(folder: Path, captions: Path) -> tuple[Path, Path]:
    """A config and what a training by it leaves beside the model."""
    config, run = folder / "small.yaml", folder / "run"
    folder.mkdir(exist_ok=True)
    config.write_text(f"data: {{train: [{{captions: {captions}}}]}}\ntrain: {{epochs: 9}}\n")
    run.mkdir()
    (run / "training.yaml").write_text(describe(parse_config(config, ["--train.epochs", "3"])))
    (run / "log.csv").write_text(f"{ROWS}\n,0,100,20\n0.4,0,120,40\n0.7,1,3000,80\n0.6,2,7200,120\n")
    return config, run


def bundled(work: Work, out: Path, *more: object) -> str:
    """The card that ``scripts.bundled.make`` writes."""
    run = out.parent / "whole"
    shutil.copytree(work.model, run, dirs_exist_ok=True)
    (run / CONFIDENCE).unlink(missing_ok=True)
    shutil.copytree(work.run, run, dirs_exist_ok=True)
    arguments = ["--stage", work.config, run, "--out", out, "--logs", out.parent, *more]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cards, "ENCODER", "test_vit")
        patch.setattr(sys, "argv", ["bundle.py", *map(str, arguments)])
        make.main()
    return (out / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def card(work: Work, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("card")
    return bundled(work, folder / "out", "--measured", work.measured, "--instances", work.instances)


ROOM, BALL = "a dog lies on a bed in a room", "a man kicks a red ball"


def measured_by_hand(folder: Path) -> None:
    """Measurements with round figures, of 24 photos with boxes and 24 without."""
    calibration: dict[str, Any] = {"folds": 10, "differing": 2, "sets": {}, "captions": {}}
    calibration["usually_wrong"] = {"below": 0.4, "wrong": {"value": 0.7, "low": 0.6, "high": 0.8, "n": 90}}
    calibration["reliability"] = [
        {"confidence": tenth / 10, "mean": tenth / 10 + 0.01, "right": share(tenth / 10, 40)} for tenth in (3, 7)
    ]
    for name, boxed in (("flickr", False), ("coco", True)):
        rows = [
            {
                "image_id": (1000 if boxed else 0) + number,
                "file": None,
                "caption": (ROOM, BALL)[number % 2],
                "references": [(ROOM, BALL)[number // 2 % 2], f"{BALL} on the grass", "somebody is there"],
                "CIDEr": number / 10,
                **({"hallucinated": ["bed"][: number % 3 == 0]} if boxed else {}),
            }
            for number in range(24)
        ]
        write_json(folder / "photos" / f"{name}.json", rows)
        scores = {"CIDEr": 1.15, "Bleu_4": 0.25, "ROUGE_L": 0.5, "CHAIRs": 0.125, "CHAIRi": 0.0625}
        result = {
            "metrics": scores,
            "intervals": {metric: [value - 0.03, value + 0.04] for metric, value in scores.items()},
            **{"images": 24, "distinct": 12, "repeats": 0.125},
        }
        chair = {"chair": {"images": 24, "mentions": 64}} if boxed else {}
        write_json(folder / "scores" / f"{name}.json", result | chair)
        calibration["sets"][name] = figures(24)
        calibration["captions"][name] = [
            {"image_id": row["image_id"], "confidence": row["CIDEr"] / 3, "right": photo.right}
            for row, photo in zip(rows, read_calibration_photos(folder / "photos" / f"{name}.json"), strict=True)
        ][2:]
    write_json(folder / "calibration.json", calibration | figures(48))
    categories = [{"id": 1, "name": "dog"}, {"id": 2, "name": "sports ball"}]
    boxes = [{"id": n, "image_id": 1000 + n, "category_id": 1 + n % 2, "bbox": [0, 0, 9, 9]} for n in range(24)]
    images = [{"id": 1000 + number, "width": 120, "height": 90} for number in range(24)]
    write_json(folder / "boxes.json", {"images": images, "categories": categories, "annotations": boxes})
    for name, cider in (("flickr", 0.625), ("coco", 0.75)):
        write_json(folder / "padded" / f"{name}.json", {"metrics": {"CIDEr": cider}})


def share(value: float, n: int) -> dict[str, float]:
    return {"value": value, "low": value - 0.1, "high": value + 0.1, "n": n}


def figures(photos: int) -> dict[str, Any]:
    sure = {"mean_confidence": 0.5, "calibration_error": 0.03125, "area_under_roc": 0.75}
    return {
        **sure,
        "photos": photos,
        "right": share(0.5, photos),
        "calibration_error_of_chance": [0.01, 0.05],
    }


def write_json(path: Path, values: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values), encoding="utf-8")


@pytest.mark.parametrize("name", ["whole", "plain", "no-threshold"])
def test_the_card_to_the_letter(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From all that a card can say, and from the least: prose and figures stay as they are."""
    monkeypatch.setattr(cards, "ENCODER", "test_vit")
    monkeypatch.setattr(cards, "BESIDE", "test_efficientnet")
    monkeypatch.chdir(tmp_path)
    measured_by_hand(tmp_path)
    parts = make_parts()
    captions = {"images": [{"id": 1}] * 1200, "annotations": [{"image_id": 1}] * 6000}
    write_json(tmp_path / "captions.json", captions)
    first, second = (run_of(tmp_path / stage, Path("captions.json")) for stage in ("first", "second"))
    stages = [Stage(*first)]
    if name != "whole":
        if name == "no-threshold":
            values = json.loads(Path("calibration.json").read_text())
            write_json(Path("calibration.json"), {**values, "usually_wrong": None, "differing": 0})
            found = results.measured_sections(Path(), Path("boxes.json"), [], 3)
        else:
            found = ""
        text = cards.card(parts, stages, found, ["two CPU cores"])
    else:
        Path("notes.md").write_text("- **Notes**: " + "Something was special. " * 9)
        encoder = replace(parts.model.config.encoder, beside="test_efficientnet")
        parts.model = CaptionModel(replace(parts.model.config, encoder=encoder))
        parts.preprocessing = replace(parts.preprocessing, max_aspect_change=1.15, hflip_tta=True)
        config = parse_config(second[0], ["--train.epochs", "3", "--train.seed", "5", "--encoder.freeze", "0"])
        (second[1] / "training.yaml").write_text(describe(config))
        (second[1] / "log.csv").write_text(f"{ROWS}\n0.7,0,300,80\n0.7,1,420,120\n")
        stages.append(Stage(*second))
        padded = [Path("padded/flickr.json"), Path("padded/coco.json")]
        found = results.measured_sections(Path(), Path("boxes.json"), padded, 3)
        text = cards.card(parts, stages, found, ["two CPU cores", "one GPU"], Path("notes.md"))
    assert text == (CARDS / f"{name}.md").read_text(encoding="utf-8")


def rows_of(text: str, heading: str) -> list[list[str]]:
    """The cells of a section's table, without its head."""
    section = text.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def stored(work: Work, path: str) -> Any:
    return json.loads((work.measured / path).read_text(encoding="utf-8"))


def test_measuring_leaves_the_files_of_the_card_and_a_confidence(work: Work) -> None:
    found = sorted(path.relative_to(work.measured).as_posix() for path in work.measured.rglob("*.json"))
    assert found == [
        "calibration.json",
        "photos/coco.json",
        "photos/flickr.json",
        "scores/coco.json",
        "scores/flickr.json",
    ]
    confidence = load_folder(work.model).confidence
    assert confidence is not None and confidence.to_dict() == stored(work, "calibration.json")["confidence"]
    assert stored(work, "scores/coco.json")["chair"]["images"] == 30
    assert "chair" not in stored(work, "scores/flickr.json")


def test_calibrating_prints_the_table(work: Work) -> None:
    values = stored(work, "calibration.json")
    lines = work.printed.splitlines()
    assert lines[0].split() == ["confidence", "captions", "mean", "right", "(95", "%", "interval)"]
    table = [line.split()[:3] for line in lines[1 : 1 + len(values["reliability"])]]
    assert table == [
        [f"{row['confidence']:.1f}", str(row["right"]["n"]), f"{row['mean']:.3f}"] for row in values["reliability"]
    ]
    assert sum(int(row[1]) for row in table) == 2 * PHOTOS
    names = [line.split(":")[0] for line in lines[1 + len(table) : -1]]
    assert names == ["all", "flickr", "coco"]
    assert "usually wrong" in lines[-1]


def test_the_same_files_make_the_same_card(work: Work, card: str, tmp_path: Path) -> None:
    arguments = "--measured", work.measured, "--instances", work.instances
    assert bundled(work, tmp_path / "out", *arguments) == card
    assert {path.name for path in (tmp_path / "out").iterdir()} == {*FILES, CONFIDENCE}
    assert (tmp_path / "small-log.csv").read_text() == (work.run / "log.csv").read_text()
    assert max(map(len, (line for line in card.splitlines() if not line.startswith("|")))) <= WIDTH


def test_without_measurements_the_card_says_so(work: Work, tmp_path: Path) -> None:
    text = bundled(work, tmp_path / "out")
    assert "Not measured yet." in text and "|" not in text
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(FILES)


def test_the_scores_are_those_of_the_evaluation(work: Work, card: str) -> None:
    for name, row in zip(measure.SETS, rows_of(card, "Scores"), strict=True):
        result = stored(work, f"scores/{name}.json")
        assert row[:2] == [name, str(PHOTOS)]
        for cell, metric in zip((row[2], row[4], row[5]), ("CIDEr", "Bleu_4", "ROUGE_L"), strict=True):
            low, high = result["intervals"][metric]
            assert cell == f"{result['metrics'][metric]:.3f} ({low:.3f} to {high:.3f})"
    metrics = stored(work, "scores/coco.json")["metrics"]
    assert f"the 30 photos of coco with boxes): {metrics['CHAIRs']:.1%} of the captions" in " ".join(card.split())


def test_the_listed_captions_are_chosen_by_number(work: Work, card: str) -> None:
    rows = rows_of(card, "Twelve results")
    assert len(rows) == 12
    for name, some in (("flickr", rows[:6]), ("coco", rows[6:])):
        photos = stored(work, f"photos/{name}.json")  # the worst first
        places = [0, 12, 24, 35, 47, 59]
        expected = [photos[place] for place in places]
        assert [row[:4] for row in some] == [
            [name, str(photo["image_id"]), f"{place + 1} of {PHOTOS}", f"{photo['CIDEr']:.2f}"]
            for place, photo in zip(places, expected, strict=True)
        ]
        assert [row[6] for row in some] == [photo["caption"] for photo in expected]
        sure = {one["image_id"]: one["confidence"] for one in stored(work, "calibration.json")["captions"][name]}
        assert [row[4] for row in some] == [f"{sure[photo['image_id']]:.2f}" for photo in expected]


def test_what_the_captions_name_is_counted_by_category(work: Work, card: str) -> None:
    rows = {row[0]: row for row in rows_of(card, "What it is good and bad at")}
    dogs = rows["dog"]  # half of the photos' references say so
    assert dogs[1:3] == [str(PHOTOS), "0"]
    captions = [photo["caption"] for name in measure.SETS for photo in stored(work, f"photos/{name}.json")]
    said = sum("dog" in caption.split() for caption in captions)
    assert dogs[5].endswith(f" of {said}")
    assert "cat" not in rows  # too few
    assert "Hardly ever named" in card and "kite" in rows


def test_measurements_of_different_captions_are_refused(work: Work, tmp_path: Path) -> None:
    measured = Path(shutil.copytree(work.measured, tmp_path / "measured"))
    scores = measured / "scores" / "coco.json"
    values = json.loads(scores.read_text())
    values["metrics"]["CIDEr"] += 0.001
    scores.write_text(json.dumps(values))
    with pytest.raises(SystemExit, match="measurements of coco are of different captions"):
        results.measured_sections(measured, work.instances, [], 3)


def test_boxes_of_other_photos_are_refused(work: Work, tmp_path: Path) -> None:
    other = tmp_path / "instances.json"
    other.write_text(json.dumps({"images": [], "categories": [], "annotations": []}))
    with pytest.raises(SystemExit, match="not the file of boxes"):
        results.measured_sections(work.measured, other, [], 3)


def test_the_command_of_a_run_says_what_differs_from_the_config(work: Work, card: str, tmp_path: Path) -> None:
    assert command(Stage(work.config, work.run)) == ("wordgaze train --config configs/small.yaml --train.epochs 3")
    words = " ".join(card.split())
    assert "(120 steps, seed 0, 2.0 hours on two CPU cores; the log is `docs/small-log.csv`)" in words
    assert "after epoch 2 of 3, the best by the mean greedy CIDEr on the validation sets, 0.700" in words
    other = tmp_path / "other.yaml"
    other.write_text("data: {train: [{captions: other.json}]}\n")
    with pytest.raises(SystemExit, match=r"another data\.train than"):
        command(Stage(other, work.run))


def test_a_stage_on_another_machine_and_a_run_with_another_seed(work: Work, tmp_path: Path) -> None:
    second = tmp_path / "second"
    second.mkdir()
    shutil.copyfile(work.run / "log.csv", second / "log.csv")
    (second / "training.yaml").write_text(describe(parse_config(work.config, ["--train.seed", "5"])))
    more = ["--stage", work.config, second, "--weights", tmp_path / "whole", "--on", "small", "one GPU"]
    words = " ".join(bundled(work, tmp_path / "out", *more).split())
    assert "(120 steps, seed 0, 2.0 hours on one GPU; the log is `docs/small-log.csv`)" in words
    assert "--train.seed 5` (120 steps, seed 5, 2.0 hours on one GPU; the log is `docs/small-seed5-log.csv`)" in words
    assert (tmp_path / "small-seed5-log.csv").exists()


def test_a_stage_of_several_configs(work: Work, tmp_path: Path) -> None:
    base = tmp_path / "base.yaml"
    base.write_text("train: {seed: 5, epochs: 9}\n")
    assert command(Stage(work.config, work.run, (base,))) == (
        "wordgaze train --config configs/base.yaml --config configs/small.yaml --train.epochs 3 --train.seed 0"
    )
    more = ["--stage", base, work.config, work.run, "--weights", tmp_path / "whole"]
    words = " ".join(bundled(work, tmp_path / "out", *more).split())
    assert "`wordgaze train --config configs/base.yaml --config configs/small.yaml --train.epochs 3" in words
    with pytest.raises(SystemExit):
        bundled(work, tmp_path / "other", "--stage", work.config)


def test_another_encoder_needs_another_text(work: Work) -> None:
    with pytest.raises(SystemExit, match=f"speaks of {cards.ENCODER}"):
        cards.card(make_parts(), [Stage(work.config, work.run)], "", [""])


def test_the_places_are_even_and_hold_both_ends() -> None:
    photos = [
        CalibrationPhoto("a", index, None, "", (), cider, (), False)
        for index, cider in enumerate([0.5, 0.1, 0.9, 0.3, 0.7])
    ]
    assert [photo.cider for _, photo in results.listed(photos, 3)] == [0.1, 0.5, 0.9]
    assert [place for place, _ in results.listed(photos, 5)] == [0, 1, 2, 3, 4]


def test_a_person_is_scored_against_the_others() -> None:
    """Where all say the same, a person is as good as can be; where all differ, as bad."""
    texts = [f"a {word} stands on the {word} grass" for word in ("dog", "cat", "cow")]
    same = [CalibrationPhoto("a", i, None, "", (text, text, text), 0, (), False) for i, text in enumerate(texts)]
    apart = [
        CalibrationPhoto("a", i, None, "", (f"{text} x", "nothing like it", "what else"), 0, (), False)
        for i, text in enumerate(texts)
    ]
    assert results.person_cider(same) > 5
    assert results.person_cider(apart) < 0.5
    with pytest.raises(SystemExit, match="no other reference"):
        results.person_cider([same[0]._replace(references=("a dog",))])


def test_long_lines_are_broken_and_tables_are_not() -> None:
    text = "# " + "a " * 90 + "\n\n" + "word " * 40 + "\n\n- " + "item " * 40 + "\n- b\n\n| " + "c " * 90 + "|\n"
    heading, *_ = lines = wrapped(text).splitlines()
    assert len(heading) > WIDTH and len(lines[-1]) > WIDTH
    assert lines[2:4] == [("word " * 24).strip(), ("word " * 16).strip()]
    assert lines[5:8] == ["- " + ("item " * 23).strip(), "  " + ("item " * 17).strip(), "- b"]


def test_the_bundled_models_card_lists_what_it_says(shared_data: Path) -> None:
    """The listed captions, made again."""
    card = (bundled_folder() / "README.md").read_text(encoding="utf-8")
    rows = rows_of(card, "Twelve results")
    assert len(rows) == results.LISTED
    captioner = Captioner.from_pretrained(device="cpu")
    for name, photo_id, *_, caption in rows:
        folder = shared_data / "data" / name
        images = json.loads((folder / "captions_val.json").read_text(encoding="utf-8"))["images"]
        [file] = [image["file_name"] for image in images if image["id"] == int(photo_id)]
        found = captioner.caption(folder / "photos" / file)
        assert found.text == caption
        assert found.confidence is not None
    assert re.search(r"\*\*Below 0\.\d\d captions are usually wrong\*\*|No threshold was found", card)


def test_calibration_photos_keep_the_order_of_the_file(work: Work) -> None:
    ciders = [photo.cider for photo in read_calibration_photos(work.measured / "photos" / "flickr.json")]
    assert ciders == sorted(ciders) and len(ciders) == PHOTOS
