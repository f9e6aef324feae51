"""Model folders: the same model comes back, and whatever is wrong with one is said with the file's name."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tests.ids import stable
from tests.model_folder import CARD, IMAGE_SIZE, make_parts

from wordgaze import folder as module
from wordgaze.captioner import Captioner
from wordgaze.errors import ConfigError, ModelError
from wordgaze.generation.confidence import FEATURES, Confidence
from wordgaze.hub import resolve
from wordgaze.model.caption_model import CaptionModel
from wordgaze.text.tokenizer import CaptionTokenizer, SpecialIds


@pytest.fixture
def folder(model_folder: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(model_folder, tmp_path / "model"))


def logits(parts: module.ModelParts) -> torch.Tensor:
    pixel_values = torch.linspace(-1, 1, 3 * IMAGE_SIZE[0] * IMAGE_SIZE[1]).reshape(1, 3, *IMAGE_SIZE)
    with torch.inference_mode():
        return parts.model(torch.tensor([[1, 5, 270, 300]]), parts.model.encode(pixel_values)).logits


def test_saved_loaded_same(tmp_path: Path) -> None:
    parts = make_parts(length_penalty=0.7)
    module.save_folder(parts, tmp_path / "new" / "model")
    loaded = module.load_folder(tmp_path / "new" / "model")
    assert loaded.model.config == parts.model.config
    assert loaded.preprocessing == parts.preprocessing
    assert loaded.generation == parts.generation
    assert loaded.card == CARD
    assert not loaded.model.training
    assert loaded.tokenizer.encode("a red dog") == parts.tokenizer.encode("a red dog")
    assert torch.equal(logits(loaded), logits(parts))


def more_embeddings(special_ids: SpecialIds) -> module.ModelParts:
    """A model with two more embeddings than its tokenizer has entries, as BLIP's."""
    parts = make_parts()
    config = parts.model.config
    larger = replace(config.decoder, vocab_size=parts.tokenizer.vocab_size + 2)
    parts.model = CaptionModel(replace(config, decoder=larger)).eval()
    parts.tokenizer = CaptionTokenizer(parts.tokenizer._tokenizer, special_ids)
    return parts


def test_special_ids_of_a_folder_need_no_entries_and_no_names(tmp_path: Path) -> None:
    ids = SpecialIds(bos_id=312, eos_id=300, pad_id=0)
    parts = more_embeddings(ids)
    module.save_folder(parts, tmp_path)
    values = json.loads((tmp_path / module.GENERATION).read_text())
    assert list(values.items())[-3:] == [
        ("decoder_start_token_id", 312),
        ("eos_token_id", 300),
        ("pad_token_id", 0),
    ]
    loaded = module.load_folder(tmp_path)
    assert loaded.tokenizer.special_ids == ids and loaded.generation == parts.generation
    encoded = loaded.tokenizer.encode("a red dog")
    assert (encoded[0], encoded[-1]) == (312, 300)
    assert loaded.tokenizer.decode([312, *encoded[1:-1], 311, 300]) == "a red dog"
    photo = Image.new("RGB", (30, 30))
    assert set(Captioner(loaded).caption(photo, num_beams=1).text.split()).isdisjoint({"<bos>", "<eos>"})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"eos_token_id": None}, "eos_token_id=None is of the wrong kind; it must be an id"),
        ({"pad_token_id": 313}, "pad_token_id 313, and config.json says 313 tokens"),
        ({"decoder_start_token_id": -1}, "at least 0"),
        ({"decoder_start_token_id": None, "eos_token_id": None, "pad_token_id": None}, "it must be an id"),
    ],
)
def test_special_ids_that_no_model_can_have(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    module.save_folder(more_embeddings(SpecialIds(1, 2, 0)), tmp_path)
    values = json.loads((tmp_path / module.GENERATION).read_text()) | changes
    (tmp_path / module.GENERATION).write_text(json.dumps(values))
    with pytest.raises(ModelError, match=words):
        module.load_folder(tmp_path)


def test_a_folder_holds_just_its_files(model_folder: Path) -> None:
    assert sorted(path.name for path in model_folder.iterdir()) == sorted(module.FILES)


def test_tied_embeddings_are_stored_once(model_folder: Path) -> None:
    parts = make_parts()
    numbers = sum(tensor.numel() for tensor in load_file(model_folder / module.WEIGHTS).values())
    assert numbers == sum(parameter.numel() for parameter in parts.model.parameters())


def test_float16_halves_the_file_and_loads_as_float32(tmp_path: Path) -> None:
    parts = make_parts()
    module.save_folder(parts, tmp_path / "32")
    module.save_folder(parts, tmp_path / "16", dtype="float16")
    sizes = [(tmp_path / name / module.WEIGHTS).stat().st_size for name in ("16", "32")]
    assert 0.45 < sizes[0] / sizes[1] < 0.55
    with safe_open(tmp_path / "16" / module.WEIGHTS, "pt") as file:
        assert file.get_tensor("decoder.final_norm.weight").dtype == torch.float16
    loaded = module.load_folder(tmp_path / "16")
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.float32}
    weight = parts.model.decoder.token_embedding.weight
    assert torch.equal(loaded.model.decoder.token_embedding.weight, weight.half().float())


def test_the_card_says_what_it_is_given(tmp_path: Path) -> None:
    parts = make_parts()
    module.save_folder(parts, tmp_path, card="# Given\n")
    assert (tmp_path / "README.md").read_text() == "# Given\n"
    module.save_folder(module.ModelParts(parts.model, parts.tokenizer, parts.preprocessing, parts.generation), tmp_path)
    assert "test_vit at 64 x 96" in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize("file", [name for name in module.FILES if name != module.CARD])
def test_a_missing_file_is_named(folder: Path, file: str) -> None:
    (folder / file).unlink()
    with pytest.raises(ModelError, match=f"has no {file}.*again"):
        module.load_folder(folder)


def test_a_model_works_without_its_card(folder: Path) -> None:
    (folder / module.CARD).unlink()
    assert module.load_folder(folder).card is None


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-50])


def with_other_tokenizer(folder: Path) -> None:
    CaptionTokenizer.train(["something else"], vocab_size=270, min_frequency=1).save(folder / module.TOKENIZER)


def with_wider_decoder(folder: Path) -> None:
    config = json.loads((folder / module.CONFIG).read_text())
    change(folder / module.CONFIG, decoder={**config["decoder"], "width": 64})


def with_a_hole(folder: Path) -> None:
    weights = load_file(folder / module.WEIGHTS)
    weights["decoder.final_norm.weight"][0] = float("nan")
    save_file(weights, folder / module.WEIGHTS)


def with_odd_tensor(folder: Path) -> None:
    save_file({**load_file(folder / module.WEIGHTS), "lm_head.weight": torch.zeros(2)}, folder / module.WEIGHTS)


@pytest.mark.parametrize(
    ("break_it", "file"),
    [
        (lambda f: (f / module.CONFIG).write_text("{"), module.CONFIG),
        (lambda f: (f / module.CONFIG).write_text("[]"), module.CONFIG),
        (lambda f: (f / module.CONFIG).write_bytes(b"\xff\xfe{}"), module.CONFIG),
        (lambda f: change(f / module.CONFIG, format_version=99), module.CONFIG),
        (lambda f: change(f / module.CONFIG, decoder={"width": "wide"}), module.CONFIG),
        (lambda f: change(f / module.CONFIG, decoder={"heads": 0}), module.CONFIG),
        (lambda f: change(f / module.CONFIG, encoder={"name": "no_such_network"}), module.CONFIG),
        (lambda f: change(f / module.CONFIG, encoder=7), module.CONFIG),
        (lambda f: cut(f / module.WEIGHTS), module.WEIGHTS),
        (lambda f: (f / module.WEIGHTS).write_bytes(struct.pack("<Q", 2**60)), module.WEIGHTS),
        (lambda f: torch.save({"a": torch.zeros(1)}, f / module.WEIGHTS), module.WEIGHTS),
        (with_wider_decoder, module.WEIGHTS),
        (with_a_hole, module.WEIGHTS),
        (with_odd_tensor, module.WEIGHTS),
        (lambda f: (f / module.TOKENIZER).write_text("{}"), module.TOKENIZER),
        (with_other_tokenizer, module.TOKENIZER),
        (lambda f: change(f / module.PREPROCESSOR, size=[96, 64]), module.PREPROCESSOR),
        (lambda f: change(f / module.PREPROCESSOR, mean=[0.5]), module.PREPROCESSOR),
        (lambda f: change(f / module.PREPROCESSOR, squeeze=True), module.PREPROCESSOR),
        (lambda f: change(f / module.GENERATION, num_beams="three"), module.GENERATION),
        (lambda f: change(f / module.GENERATION, beams=3), module.GENERATION),
        (lambda f: change(f / module.GENERATION, max_length=25), module.GENERATION),
    ],
)
def test_a_file_that_is_damaged_or_of_another_model_is_named(
    folder: Path, break_it: Callable[[Path], object], file: str
) -> None:
    break_it(folder)
    with pytest.raises(ModelError) as caught:
        module.load_folder(folder)
    message = str(caught.value)
    assert file in message and str(folder) in message
    assert "\n" not in message and "; " in message


def test_no_folder_and_a_file_instead_of_one(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        module.load_folder(tmp_path / "none")
    (tmp_path / "file").touch()
    with pytest.raises(ModelError, match="is a file"):
        module.load_folder(tmp_path / "file")


def test_a_pickle_is_never_opened(folder: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(folder / "exploded"),)

    torch.save({"weights": Bomb()}, folder / module.WEIGHTS)
    torch.save({"weights": Bomb()}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError):
        module.load_folder(folder)
    assert not (folder / "exploded").exists()


def test_a_save_that_fails_early_leaves_the_old_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full_disk(self: CaptionTokenizer, path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(CaptionTokenizer, "save", full_disk)
    with pytest.raises(ModelError, match="No space left on device"):
        module.save_folder(make_parts(seed=1), folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("files", range(len(module.FILES)))
def test_a_save_cut_short_never_mixes_two_models(folder: Path, monkeypatch: pytest.MonkeyPatch, files: int) -> None:
    replace, done = os.replace, []

    def killed(source: Path, target: Path) -> None:
        if len(done) == files:
            raise KeyboardInterrupt
        replace(source, target)
        done.append(target)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        module.save_folder(make_parts(seed=1), folder)
    with pytest.raises(ModelError, match=module.CONFIG):
        module.load_folder(folder)


def test_what_can_not_be_loaded_is_not_saved(tmp_path: Path) -> None:
    parts = make_parts()
    parts.tokenizer = CaptionTokenizer.train(["something else"], vocab_size=270, min_frequency=1)
    with pytest.raises(ModelError, match="tokens"):
        module.save_folder(parts, tmp_path)
    parts = make_parts()
    with torch.no_grad():
        parts.model.decoder.final_norm.weight[0] = 1e6
    with pytest.raises(ModelError, match=r"final_norm.*float16"):
        module.save_folder(parts, tmp_path, dtype="float16")
    with torch.no_grad():
        parts.model.decoder.final_norm.weight[0] = float("inf")
    with pytest.raises(ModelError, match=r"final_norm.*finite"):
        module.save_folder(parts, tmp_path)
    with pytest.raises(ConfigError, match="float8"):
        module.save_folder(parts, tmp_path, dtype="float8")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ModelError, match="can't be saved"):
        module.save_folder(make_parts(), tmp_path / "file" / "model")


# --- confidence.json -------------------------------------------------------------------------------------------

CONFIDENCE = Confidence(0.5, dict.fromkeys(FEATURES, 1.5), 0.25)


def test_a_confidence_is_saved_and_loaded_beside_the_rest(tmp_path: Path) -> None:
    parts = make_parts()
    parts.confidence = CONFIDENCE
    module.save_folder(parts, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*module.FILES, module.CONFIDENCE}
    assert module.load_folder(tmp_path).confidence == CONFIDENCE


def test_a_folder_without_one_loads(model_folder: Path) -> None:
    assert module.load_folder(model_folder).confidence is None


def test_another_models_confidence_does_not_stay_behind(tmp_path: Path) -> None:
    parts = make_parts()
    parts.confidence = CONFIDENCE
    module.save_folder(parts, tmp_path)
    module.save_folder(make_parts(1), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(module.FILES)


def test_a_confidence_is_added_to_a_folder_and_taken_away(folder: Path) -> None:
    module.save_confidence(CONFIDENCE, folder)
    assert module.load_folder(folder).confidence == CONFIDENCE
    assert {path.name for path in folder.iterdir()} == {*module.FILES, module.CONFIDENCE}
    module.save_confidence(None, folder)
    module.save_confidence(None, folder)
    assert module.load_folder(folder).confidence is None
    with pytest.raises(ModelError, match=r"confidence.json can't be written"):
        module.save_confidence(CONFIDENCE, folder / "nothere")


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"intercept": 1}', '{"intercept": 1, "weights": 3, "usually_wrong_below": null}']
)
def test_a_damaged_confidence_is_named(folder: Path, text: str) -> None:
    (folder / module.CONFIDENCE).write_text(text)
    with pytest.raises(ModelError, match=r"confidence\.json"):
        module.load_folder(folder)


# --- Other people's folders -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (module.CONFIG, '{"model_type": "blip", "vocab_size": 30524}'),
        (module.CONFIG, "no JSON"),
        (module.CARD, "# My project"),
        (module.TOKENIZER, '{"version": "1.0", "model": {}}'),
        (module.WEIGHTS, "weights"),
        (module.PREPROCESSOR, '{"do_resize": true}'),
        (module.GENERATION, "{}"),
        (module.CONFIDENCE, '{"mine": 1}'),
    ],
)
def test_nothing_of_another_project_is_replaced(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    (tmp_path / "notes.txt").write_text("mine")
    saves = [
        lambda: module.save_folder(make_parts(), tmp_path),
        lambda: Captioner(make_parts(), "cpu").save_pretrained(tmp_path),
    ]
    for save in saves:
        with pytest.raises(ModelError, match=rf"holds a {name} and is not a model folder.*choose another"):
            save()
        assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
            name: content,
            "notes.txt": "mine",
        }


def interrupted(folder: Path) -> None:
    (folder / module.CONFIG).unlink()


def interrupted_early(folder: Path) -> None:
    for name in (module.CONFIG, module.CARD, module.GENERATION, module.PREPROCESSOR):
        (folder / name).unlink()
    (folder / ".saving-x").mkdir()


def begun_by_training(folder: Path) -> None:
    for path in folder.iterdir():
        if path.name != module.TOKENIZER:
            path.unlink()
    (folder / "log.csv").write_text("step\n")


@pytest.mark.parametrize("before", [lambda folder: None, interrupted, interrupted_early, begun_by_training])
def test_a_folder_of_ours_may_get_another_model(folder: Path, before: Callable[[Path], None]) -> None:
    before(folder)
    (folder / "notes.txt").write_text("mine")
    module.save_folder(make_parts(seed=1), folder)
    assert torch.equal(logits(module.load_folder(folder)), logits(make_parts(seed=1)))
    assert (folder / "notes.txt").read_text() == "mine"


def test_a_model_may_be_saved_where_it_was_loaded_from(folder: Path) -> None:
    loaded = Captioner.from_pretrained(folder, "cpu")
    expected = logits(loaded.parts)
    loaded.save_pretrained(folder)
    assert torch.equal(logits(module.load_folder(folder)), expected)
    assert sorted(path.name for path in folder.iterdir()) == sorted(module.FILES)


@pytest.mark.parametrize("name", [123, 2.5, True, b"model", ["model"], {"a": 1}, object(), "a\0b"], ids=stable)
def test_what_is_no_path_is_said(name: Any) -> None:
    for call in (
        resolve,
        module.load_folder,
        lambda folder: module.save_folder(make_parts(), folder),
        Captioner.from_pretrained,
        Captioner(make_parts(), "cpu").save_pretrained,
    ):
        with pytest.raises(ConfigError, match=r"of the wrong kind; it must be a path"):
            call(name)


def test_a_name_too_long_for_a_path() -> None:
    for call in (resolve, module.load_folder, Captioner.from_pretrained):
        with pytest.raises(ConfigError, match=r"too long for a path"):
            call("x" * 5000)


@pytest.mark.parametrize("dtype", ["float8", 16, None, ["float16"], torch.float16], ids=stable)
def test_a_dtype_that_can_not_be_saved(dtype: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="choose float32 or float16"):
        module.save_folder(make_parts(), tmp_path, dtype=dtype)
