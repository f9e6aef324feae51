"""The three-line API: captions, maps, options, and a model that comes back from disk as it was."""

from __future__ import annotations

import html
import io
import json
import math
import os
import signal
import socket
import threading
import time
from collections import UserList, deque
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from tests.model_folder import CARD, make_parts

from wordgaze import hub
from wordgaze.captioner import Caption, Captioner, CaptionWord, Explanation
from wordgaze.captioning import pipeline
from wordgaze.errors import ConfigError, ModelError, PhotoError, PhotoWarning
from wordgaze.explanation import explainer
from wordgaze.folder import FILES, load_folder, save_folder
from wordgaze.generation.search import search
from wordgaze.generation.torch_stepper import TorchStepper


def close(left: Caption, right: Caption) -> bool:
    return left.text == right.text and math.isclose(left.log_probability, right.log_probability, abs_tol=1e-4)


def found_ids(captioner: Captioner, photo: Path, **options: Any) -> tuple[int, ...]:
    """The ids that the search finds; the text alone could be written with others."""
    tokenizer = captioner.tokenizer
    with torch.inference_mode():
        pixel_values = captioner.transform(Image.open(photo))[0][None]
        results = search(
            TorchStepper(captioner.model, captioner.model.encode(pixel_values)),
            captioner.generation_options(**options),
            bos_id=tokenizer.bos_id,
            eos_id=tokenizer.eos_id,
            pad_id=tokenizer.pad_id,
        )
    return results[0][0].token_ids


def forced(captioner: Captioner, photo: Path, ids: tuple[int, ...]) -> Any:
    """The model's output for the whole caption at once."""
    with torch.inference_mode():
        pixel_values = captioner.transform(Image.open(photo))[0][None]
        states = captioner.model.encode(pixel_values)
        return captioner.model(torch.tensor([ids]), states, output_attentions=True)


# --- Captions --------------------------------------------------------------------------------------------------


def test_captions_come_in_order_and_differ(captioner: Captioner, photos: list[Path]) -> None:
    captions = captioner.caption(photos)
    assert len({str(caption) for caption in captions}) > 3  # else the next lines prove nothing
    backwards = captioner.caption(photos[::-1])
    assert all(map(close, captions, backwards[::-1]))


def test_alone_as_in_a_batch(captioner: Captioner, photos: list[Path]) -> None:
    alone = [captioner.caption(photo) for photo in photos]
    for batch_size in (1, 4, 16):
        assert all(map(close, alone, captioner.caption(photos, batch_size=batch_size)))


def test_one_photo_gives_one_caption_and_a_list_gives_a_list(captioner: Captioner, photos: list[Path]) -> None:
    assert isinstance(captioner.caption(photos[0]), Caption)
    assert [str(caption) for caption in captioner.caption([photos[0]])] == [str(captioner.caption(photos[0]))]
    assert captioner.caption([]) == []
    assert len(captioner.caption(iter(photos[:2]))) == 2


def test_any_source_of_the_same_pixels_gives_the_same_caption(captioner: Captioner, photos: list[Path]) -> None:
    path = photos[0]
    image = Image.open(path)
    expected = captioner.caption(path)
    with path.open("rb") as file:
        for source in (
            str(path),
            path.read_bytes(),
            io.BytesIO(path.read_bytes()),
            image,
            np.asarray(image),
            file,
        ):
            assert captioner.caption(source) == expected


def test_probabilities_are_those_of_a_pass_over_the_ids(captioner: Captioner, photos: list[Path]) -> None:
    """Against logits of the whole caption at once, which no search has touched."""
    caption = captioner.caption(photos[0], min_length=8)  # has no end token then
    tokenizer, ids = captioner.tokenizer, found_ids(captioner, photos[0], min_length=8)
    assert tokenizer.decode(ids) == caption.text
    logits = forced(captioner, photos[0], ids).logits[0].log_softmax(-1)
    for word, span in zip(caption.words, tokenizer.words(ids), strict=True):
        assert word.text == span.text
        expected = sum(float(logits[i - 1, ids[i]]) for i in range(span.start, span.stop))
        assert math.isclose(math.log(word.probability), expected, abs_tol=1e-4)
    words = sum(math.log(word.probability) for word in caption.words)
    assert math.isclose(caption.log_probability, words, abs_tol=1e-4)


def test_alternatives_are_the_next_best(captioner: Captioner, photos: list[Path]) -> None:
    caption = captioner.caption(photos[0], num_beams=4, num_captions=3, length_penalty=0.0)
    assert len(caption.alternatives) == 2
    ranked = [caption, *caption.alternatives]
    log_probs = [alternative.log_probability for alternative in ranked]
    assert log_probs == sorted(log_probs, reverse=True)
    assert len({alternative.text for alternative in ranked}) == 3
    assert close(caption, captioner.caption(photos[0], num_beams=4, length_penalty=0.0))


def test_the_folder_has_the_defaults_and_a_keyword_overrides_them(tmp_path: Path, photos: list[Path]) -> None:
    save_folder(make_parts(max_length=3), tmp_path)
    captioner = Captioner.from_pretrained(tmp_path, "cpu")
    short = captioner.caption(photos[0])
    assert close(short, captioner.caption(photos[0], max_length=3))
    assert len(captioner.caption(photos[0], max_length=9, min_length=9).text) > len(short.text) > 0
    assert captioner.generation_options(num_beams=5).max_length == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_beam": 3}, "did you mean num_beams"),
        ({"beams_of_light": 3}, "the options are num_beams"),
        ({"num_beams": 0}, "num_beams is 0"),
        ({"num_beams": "three"}, "num_beams='three'"),
        ({"max_length": 25}, "max_length is 25.* 24"),
        ({"batch_size": 0}, "batch_size is 0"),
    ],
)
def test_an_option_that_makes_no_sense_is_named(captioner: Captioner, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        captioner.caption(["no photo is opened before this is said"], **options)


PHOTO = np.zeros((40, 60, 3), np.uint8)
NO_NUMBER = ["7", True, None, [1], 2.5, float("nan")]
WRONG_KINDS = [
    *(("caption", {"batch_size": value}, "batch_size=") for value in [*NO_NUMBER, "4"]),
    *(("caption", {"batch_size": value}, "batch_size is") for value in (0, -1)),
    *(("caption", {"num_beams": value}, "num_beams=") for value in NO_NUMBER),
    *(("caption", {"num_beams": value}, "num_beams is") for value in (100_000, 10**30)),
    *(("caption", {"seed": value}, "seed") for value in ("7", 2**64, None)),
    ("caption", {"sample": "yes"}, "sample="),
    ("caption", {"sample": True, "num_captions": 10**12}, "num_captions is .* of memory, but there"),
    *(("caption", {"on_error": value}, "on_error is") for value in ("ignore", None, True, ["return"])),
    *((call, {"strict": value}, "strict=") for value in ("yes", 1, None) for call in ("caption", "explain")),
    *(("explain", {"text": value}, "text=") for value in (123, ["a", "b"], b"a dog", True, ("a",))),
    *(("explain", {"method": value}, "method=") for value in (5, ["mean"], b"mean", True)),
    *(("explain", {"raw": value}, "raw=") for value in ("yes", 1, None)),
    ("explain", {"num_beams": 2.5}, "num_beams=2.5"),
    ("explain", {"method": ""}, "no method ''"),
]


@pytest.mark.parametrize(("call", "arguments", "message"), WRONG_KINDS, ids=lambda value: str(value)[:40])
def test_every_argument_of_the_wrong_kind_is_a_sentence(
    captioner: Captioner, call: str, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=rf"^(There is )?{message}"):
        getattr(captioner, call)(PHOTO, **arguments)
    if call == "caption":
        with pytest.raises(ConfigError, match=message):
            captioner.caption((photo for photo in [PHOTO]), **arguments)


def test_a_batch_that_needs_more_memory_than_there_is(captioner: Captioner) -> None:
    for huge in (10**9, 10**30):
        with pytest.raises(ConfigError, match=r"^batch_size is .* of memory, but there are .*; choose at most \d+"):
            captioner.caption(iter([PHOTO]), batch_size=huge)
        assert len(captioner.caption([PHOTO, PHOTO], batch_size=huge)) == 2  # no more are there


def test_numpys_numbers_are_options_too(captioner: Captioner) -> None:
    given = captioner.caption([PHOTO], num_beams=np.int64(2), batch_size=np.int32(1), sample=np.False_)
    assert given == captioner.caption([PHOTO], num_beams=2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        *(({"device": value}, "^device=") for value in (5.5, True, ["cpu"], b"cpu")),
        *(({"device": value}, "This torch has no device") for value in (99, -1, 10**30, "meta", "", "gpu7")),
        *(({"precision": value}, "^precision is") for value in (5, None, ["float32"], torch.float16, "float8")),
        *(({"mirrored": value}, "^mirrored=") for value in ("yes", 1)),
    ],
    ids=str,
)
def test_a_captioner_is_not_made_of_what_makes_no_sense(
    model_folder: Path, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        Captioner.from_pretrained(model_folder, **{"device": "cpu", **arguments})


@pytest.mark.parametrize("parts", ["runs/best", None, 5])
def test_a_captioner_is_made_of_parts(parts: Any) -> None:
    with pytest.raises(ConfigError, match=r"Captioner\.from_pretrained"):
        Captioner(parts)


def test_pixels_and_texts_of_the_wrong_kind(captioner: Captioner) -> None:
    good, options = torch.zeros(1, 3, 64, 96), captioner.generation_options()
    for pixels in (PHOTO, None, torch.zeros(3, 64, 96), torch.zeros(1, 3, 96, 64), torch.zeros(1, 1, 64, 96)):
        for call in (lambda p: captioner.caption_pixels(p, options), captioner.explain_pixels):
            with pytest.raises(ConfigError, match=r"^pixel_values=.*\(B, 3, 64, 96\)"):
                call(pixels)
    for texts in ("a dog", ["a dog"]):
        with pytest.raises(ConfigError, match=r"^texts=.*a list of texts for each photo"):
            captioner.explain_pixels(good, texts)
    with pytest.raises(ConfigError, match=r"^texts has 1 lists for 2 photos; give a list of texts"):
        captioner.explain_pixels(good.repeat(2, 1, 1, 1), [["a dog"]])
    with pytest.raises(ConfigError, match=r"^options=.*generation_options\(\)"):
        captioner.caption_pixels(good, {"num_beams": 2})  # type: ignore[arg-type]


def test_any_collection_of_photos_gives_a_list(captioner: Captioner, photos: list[Path]) -> None:
    expected = captioner.caption(photos)

    class Photos(torch.utils.data.Dataset):  # as torchvision's: an image with its label
        def __len__(self) -> int:
            return len(photos)

        def __getitem__(self, index: int) -> tuple[Image.Image, int]:
            return Image.open(photos[index % len(photos)]), index

    for collection in (
        deque(photos),
        UserList(photos),
        dict(enumerate(photos)).values(),
        Photos(),
        np.array(photos),
    ):
        captions = captioner.caption(collection, batch_size=4)
        assert all(map(close, expected, captions)) and len(captions) == len(photos)
    with pytest.raises(ConfigError, match=r"are a dict.*\.values\(\)"):
        captioner.caption(dict(enumerate(photos)))


def test_files_of_a_list_are_read_ahead_and_those_of_an_iterator_when_they_come(
    captioner: Captioner, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    here: list[bool] = []
    real = pipeline.convert_photo

    def converted(*arguments: Any, **options: Any) -> Any:
        here.append(threading.current_thread() is threading.main_thread())
        return real(*arguments, **options)

    monkeypatch.setattr(pipeline, "convert_photo", converted)
    expected = captioner.caption(photos, batch_size=2)
    assert here == [False] * 6
    assert captioner.caption(iter(photos), batch_size=2) == expected
    assert here == [False] * 6 + [True] * 6


@pytest.mark.parametrize("problem", [KeyboardInterrupt, torch.OutOfMemoryError])
def test_a_model_that_is_interrupted_leaves_no_thread(
    captioner: Captioner, photos: list[Path], monkeypatch: pytest.MonkeyPatch, problem: type[BaseException]
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise problem

    monkeypatch.setattr(captioner, "caption_pixels", interrupted)
    with pytest.raises(problem):
        captioner.caption(photos, batch_size=2)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("wordgaze-photos")]


def test_an_array_of_four_dimensions_is_several_photos(captioner: Captioner) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 40, 60, 3), np.uint8)
    assert captioner.caption(pixels) == captioner.caption(list(pixels))
    assert captioner.caption(pixels[:0]) == []
    with pytest.raises(PhotoError, match="the photo: is an array of shape"):
        captioner.explain(pixels)  # one photo is explained at a time


def test_an_error_can_stand_in_its_photos_place(captioner: Captioner, mixed: Path) -> None:
    files = sorted(mixed.glob("*.*"))
    assert len(files) == 9
    for batch_size in (1, 2, 16):
        results = captioner.caption(files, on_error="return", batch_size=batch_size)
        wrong = {
            file.name: result for file, result in zip(files, results, strict=True) if isinstance(result, PhotoError)
        }
        assert set(wrong) == {"a.jpg", "d2.png", "notes.txt"}
        assert str(wrong["d2.png"]).startswith(f"{mixed / 'd2.png'}: is not a photo")
        right = [result for result in results if isinstance(result, Caption)]
        assert all(map(close, right, captioner.caption([file for file in files if file.name not in wrong])))
    alone = captioner.caption(mixed / "d2.png", on_error="return")
    assert isinstance(alone, PhotoError) and str(alone) == str(wrong["d2.png"])
    assert isinstance(captioner.caption(mixed / "b.png", on_error="return"), Caption)
    numbered = captioner.caption([b"no photo", {"image": 1}, 7], on_error="return")
    assert [str(error)[:14] for error in numbered] == ["photo 1: is no", "photo 2: is a ", "photo 3: is an"]
    with pytest.raises(PhotoError, match=r"a\.jpg"):
        captioner.caption(files, on_error="raise")


def test_what_is_doubtful_about_a_photo_is_a_warning_of_the_callers_line(
    captioner: Captioner, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = pipeline.convert_photo

    def doubtful(source: Any, make: Any, on_warning: Any, *, strict: bool, **_: Any) -> Any:
        if strict:
            raise PhotoError("is cut short")
        on_warning("is transparent everywhere")
        return real(source, make, on_warning)

    monkeypatch.setattr(pipeline, "convert_photo", doubtful)
    for call, name in (
        (lambda: captioner.caption(photos[0]), str(photos[0])),
        (lambda: captioner.caption(iter([photos[0].read_bytes()])), "photo 1"),
        (lambda: captioner.explain(PHOTO), "the photo"),
    ):
        with pytest.warns(PhotoWarning) as warned:
            call()
        assert [str(warning.message) for warning in warned] == [f"{name}: is transparent everywhere"]
        assert {warning.filename for warning in warned} == {__file__}
    with pytest.raises(PhotoError, match="the photo: is cut short"):
        captioner.explain(PHOTO, strict=True)
    refused = captioner.caption([PHOTO], strict=True, on_error="return")
    assert [str(error) for error in refused] == ["photo 1: is cut short"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_captions_though_its_parent_has_used_torchs_threads(captioner: Captioner) -> None:
    """Without ``one_thread_after_fork`` the child waits for OpenMP's threads, which are not there, without end."""
    threads, square = torch.get_num_threads(), torch.ones(300, 300)
    expected = captioner.caption(PHOTO)
    torch.set_num_threads(2)
    try:
        square @ square
        child = os.fork()
        if child == 0:
            with suppress(BaseException):
                square @ square
                alike = close(captioner.caption(PHOTO), expected)
                os._exit(0 if alike and torch.get_num_threads() == 1 else 3)
            os._exit(4)
        deadline = time.monotonic() + 30
        while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < deadline:
            time.sleep(0.01)
        if ended == (0, 0):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        assert ended == (child, 0)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_a_photo_that_fails_is_named(captioner: Captioner, mixed: Path) -> None:
    with pytest.raises(PhotoError, match=r"d2\.png: is not a photo"):
        captioner.caption([mixed / "b.png", mixed / "d2.png"])
    with pytest.raises(PhotoError, match=r"photo 18: "):
        captioner.caption([mixed / "b.png"] * 17 + [b"no photo"])
    with pytest.raises(PhotoError, match=r"the photo: is an int"):
        captioner.caption(7)  # type: ignore[call-overload]


def test_sampling_is_seeded_and_independent_of_the_batch(captioner: Captioner, photos: list[Path]) -> None:
    options = {"sample": True, "temperature": 3.0}
    captions = captioner.caption(photos, seed=1, **options)
    assert all(map(close, captions, [captioner.caption(photo, seed=1, **options) for photo in photos]))
    assert [c.text for c in captioner.caption(photos, seed=2, **options)] != [c.text for c in captions]


def test_dictionary_of_a_caption() -> None:
    best = Caption("a dog", -1.5, (CaptionWord("a", 0.5), CaptionWord("dog", 0.25)), (Caption("it", -2.0, ()),))
    assert best.to_dict() == {
        "caption": "a dog",
        "log_probability": -1.5,
        "words": [{"word": "a", "probability": 0.5}, {"word": "dog", "probability": 0.25}],
        "alternatives": [{"caption": "it", "log_probability": -2.0, "words": []}],
    }
    assert f"{best}" == "a dog"


# --- Explanations ----------------------------------------------------------------------------------------------


def test_maps_are_the_attention_of_the_winning_caption(captioner: Captioner, photos: list[Path]) -> None:
    photo = photos[0]
    explanation = captioner.explain(photo, method="mean", raw=True, num_beams=4, min_length=8)
    assert close(explanation.caption, captioner.caption(photo, num_beams=4, min_length=8))
    ids = found_ids(captioner, photo, num_beams=4, min_length=8)
    output = forced(captioner, photo, ids)
    rows = torch.stack(output.cross_attentions).mean(dim=(0, 2))[0]  # (T, N)
    for word, span in zip(explanation.words, captioner.tokenizer.words(ids), strict=True):
        expected = rows[span.start - 1 : span.stop - 1].mean(dim=0).reshape(4, 6)
        assert np.allclose(word.map, expected, atol=1e-5)
        assert math.isclose(word.map.sum(), 1, abs_tol=1e-5)
    assert max(word.map.max() for word in explanation.words) > 0.1  # flat maps would agree with any
    for word, expected in zip(explanation.words, explanation.caption.words, strict=True):
        assert word.text == expected.text
        assert math.isclose(word.probability, expected.probability, rel_tol=1e-3)


def test_peaks_lie_on_the_photo_even_if_the_padding_has_more(
    captioner: Captioner, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = explainer.word_maps

    def padded(*arguments: Any, **options: Any) -> Any:
        (maps,) = real(*arguments, **options)
        for word in maps.words:
            word.map[0, :] = 0.2  # of a wide photo the first row of patches shows nothing
            word.map[1:, :] = 0.001
            word.map[2, 4] = 0.1
        return [maps]

    monkeypatch.setattr(explainer, "word_maps", padded)
    explanation = captioner.explain(photos[2])  # 200 x 40, in a 96 x 64 input: rows 1 and 2 of 4 show it
    assert {word.peak for word in explanation.words} == {(150, 37)}


def test_a_text_of_ones_own(captioner: Captioner, photos: list[Path]) -> None:
    explanation = captioner.explain(photos[0], "A red T-shirt!")
    assert explanation.caption.text == "a red t-shirt"
    assert [word.text for word in explanation.words] == ["a", "red", "t-shirt"]
    log_probs = [math.log(word.probability) for word in explanation.words]
    assert explanation.caption.log_probability < sum(log_probs)  # the end token counts, too
    assert [word.probability for word in explanation.caption.words] == [w.probability for w in explanation.words]


def test_what_can_not_be_explained_is_said(captioner: Captioner, photos: list[Path]) -> None:
    with pytest.raises(ConfigError, match=r"no method 'median'.*contrast, last, mean, layer-0, layer-1"):
        captioner.explain(photos[0], method="median")
    for wordless in (" ?! ", "\ud800", "\u202e\u200d"):
        with pytest.raises(ConfigError, match="holds no words"):
            captioner.explain(photos[0], wordless)
    with pytest.raises(PhotoError, match=r"the photo: is a list of Pos"):
        captioner.explain([photos[0]])  # type: ignore[arg-type]
    longest = "dog " * 23  # with the end token the 24 that the model reads
    assert len(captioner.explain(photos[0], longest).words) == 23
    with pytest.raises(ConfigError, match="25 tokens long, but this model reads at most 24"):
        captioner.explain(photos[0], longest + "dog")
    with pytest.raises(PhotoError, match=r"nothere\.png: no such file"):
        captioner.explain("nothere.png")


def test_methods_differ(captioner: Captioner, photos: list[Path]) -> None:
    maps = {name: captioner.explain(photos[0], method=name).words[0].map for name in captioner.methods}
    assert np.allclose(maps["last"], maps["layer-1"]) and not np.allclose(maps["layer-0"], maps["layer-1"])
    assert np.allclose(captioner.explain(photos[0]).words[0].map, maps["gradient"])
    assert not any(np.allclose(maps["gradient"], maps[name]) for name in maps if name != "gradient")
    raw = captioner.explain(photos[0], raw=True)
    assert raw.raw and np.allclose(raw.words[0].map, captioner.explain(photos[0], method="mean", raw=True).words[0].map)
    assert not np.allclose(raw.words[0].map, maps["mean"])  # which is post-processed


def test_what_words_owe_to_the_photo_and_to_each_other(
    captioner: Captioner, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    explanation = captioner.explain(photos[0], "a red dog on grass")
    assert not any(word.grounded for word in explanation.words if word.text in ("a", "on"))
    for word in explanation.words:
        assert word.grounded == (word.evidence > 0 and word.text not in ("a", "on"))
    assert max(abs(word.evidence) for word in explanation.words) > 0.1
    attention = explanation.words_attention
    assert attention.shape == (5, 6) and np.allclose(attention.sum(axis=1), 1, atol=1e-5)
    assert np.allclose(attention[0], [1, 0, 0, 0, 0, 0]) and not np.triu(attention, 2).any()
    geometry = captioner.transform(explanation.photo)[1]
    monkeypatch.setattr(captioner.transform, "array", lambda photo: (np.zeros((3, 64, 96), np.float32), geometry))
    blank = captioner.explain(photos[0], "a red dog on grass")
    assert all(abs(word.evidence) < 1e-3 for word in blank.words)


def test_many_photos_and_texts_as_one(captioner: Captioner, photos: list[Path]) -> None:
    texts = [["a red dog", "two men"], ["the grass"]]
    pixel_values = torch.stack([captioner.transform(Image.open(photo))[0] for photo in photos[:2]])
    for photo, group, results in zip(photos, texts, captioner.explain_pixels(pixel_values, texts), strict=False):
        assert len(results) == len(group)
        for text, maps in zip(group, results, strict=True):
            alone = captioner.explain(photo, text)
            assert maps.texts == tuple(word.text for word in alone.words)
            assert np.allclose(maps.maps, [word.map for word in alone.words], atol=1e-5)
    for photo, (maps,) in zip(photos, captioner.explain_pixels(pixel_values), strict=False):
        alone = captioner.explain(photo)
        assert np.allclose(maps.maps, [word.map for word in alone.words], atol=1e-5)


@pytest.fixture(scope="module")
def explanation(captioner: Captioner, tmp_path_factory: pytest.TempPathFactory) -> Explanation:
    path = tmp_path_factory.mktemp("photo") / "wide.png"
    Image.effect_mandelbrot((80, 50), (-2, -1, 1, 1), 20).save(path)
    return captioner.explain(path, "a red dog")


def test_saved_as_json(explanation: Explanation, tmp_path: Path) -> None:
    explanation.save(tmp_path / "maps.json")
    values = json.loads((tmp_path / "maps.json").read_text(encoding="utf-8"))
    assert [word["word"] for word in values["words"]] == ["a", "red", "dog"]
    for saved, word in zip(values["words"], explanation.words, strict=True):
        assert np.allclose(saved["map"], word.map, rtol=1e-5)
        assert saved["peak"] == list(word.peak)
        assert saved["entropy"] == word.entropy and saved["probability"] == word.probability
        assert saved["evidence"] == word.evidence and saved["grounded"] == word.grounded
    assert np.allclose(values["words_attention"], explanation.words_attention, rtol=1e-5)
    assert values["caption"] == "a red dog" and (values["method"], values["raw"]) == ("gradient", False)
    assert values["photo_size"] == [80, 50] and values["input_size"] == [96, 64]


def test_saved_as_npz(explanation: Explanation, tmp_path: Path) -> None:
    explanation.save(tmp_path / "maps.NPZ")
    with np.load(tmp_path / "maps.NPZ", allow_pickle=False) as values:
        assert values["maps"].shape == (3, 4, 6) and values["maps"].dtype == np.float32
        assert values["words"].tolist() == ["a", "red", "dog"]
        assert values["peaks"].tolist() == [list(word.peak) for word in explanation.words]
        assert str(values["caption"]) == "a red dog"
        assert values["words_attention"].shape == (3, 4)
        assert values["grounded"].tolist() == [word.grounded for word in explanation.words]


def test_saved_as_picture_and_as_page(explanation: Explanation, tmp_path: Path) -> None:
    explanation.save(str(tmp_path / "maps.png"))
    with Image.open(tmp_path / "maps.png") as picture:
        assert picture.format == "PNG" and picture.size == explanation.grid().size
    explanation.save(tmp_path / "maps.html")
    page = (tmp_path / "maps.html").read_text(encoding="utf-8")
    assert "wide.png" in page and "dog" in page and "a red dog" in page


def test_another_suffix_is_refused(explanation: Explanation, tmp_path: Path) -> None:
    for name in ("maps.pdf", "maps"):
        with pytest.raises(ConfigError, match=rf"{name}: .*\.png, \.html, \.json, \.npz"):
            explanation.save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_shown_in_a_notebook(explanation: Explanation) -> None:
    shown = explanation._repr_html_()
    assert shown.startswith("<iframe") and html.escape('alt="a red dog"') in shown


def test_a_caption_without_words_still_has_a_picture(captioner: Captioner, photos: list[Path], tmp_path: Path) -> None:
    parts = make_parts()
    with torch.no_grad():  # the end token is all it says
        parts.model.decoder.final_norm.bias.copy_(
            parts.model.decoder.token_embedding.weight[parts.tokenizer.eos_id] * 50
        )
    explanation = Captioner(parts, "cpu").explain(photos[0])
    assert explanation.caption.text == "" and explanation.words == ()
    for suffix in (".png", ".html", ".json", ".npz"):
        explanation.save(tmp_path / f"maps{suffix}")


# --- Models ----------------------------------------------------------------------------------------------------


def test_saved_loaded_same_captions_and_silent(
    captioner: Captioner, photos: list[Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    captioner.save_pretrained(tmp_path / "model")
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == sorted(FILES)
    assert (tmp_path / "model" / "README.md").read_text() == CARD
    assert "format_version" in json.loads((tmp_path / "model" / "config.json").read_text())
    again = Captioner.from_pretrained(tmp_path / "model", "cpu")
    assert again.caption(photos) == captioner.caption(photos)
    assert capfd.readouterr() == ("", "")


def test_pushed_to_the_hub_is_a_whole_model_folder(captioner: Captioner, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import HfApi

    pushed: dict[str, set[str]] = {}

    class Repository:
        repo_id = "owner/name"

    def upload(self: HfApi, *, repo_id: str, folder_path: Path, **_: Any) -> str:
        load_folder(folder_path)
        pushed[repo_id] = {path.name for path in Path(folder_path).iterdir()}
        return "https://example.org"

    monkeypatch.setattr(HfApi, "create_repo", lambda self, **_: Repository)
    monkeypatch.setattr(HfApi, "upload_folder", upload)
    captioner.push_to_hub("owner/name")
    assert pushed == {"owner/name": set(FILES)}


def test_without_a_name_it_is_the_bundled_model(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "bundled_folder", lambda: model_folder)
    assert Captioner.from_pretrained().parts.card == CARD


def test_a_mistyped_path_makes_no_connection(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def connect(*_: Any) -> None:
        raise AssertionError("asked the network")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.chdir(tmp_path)
    for name in ("./modle", "runs/best/model", "modle", tmp_path / "modle"):
        with pytest.raises(ModelError, match="does not exist"):
            Captioner.from_pretrained(name)


def test_loading_and_making_copies_no_weights(model_folder: Path) -> None:
    """ModelHubMixin would keep a deep copy of every dataclass it is made with as its config."""
    parts = load_folder(model_folder)
    captioner = Captioner(parts, "cpu")
    assert captioner.parts is parts and captioner.model is parts.model
    assert not captioner._hub_mixin_config


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_lower_precision_is_close_and_leaves_the_weights(
    captioner: Captioner, model_folder: Path, photos: list[Path], precision: str
) -> None:
    lower = Captioner.from_pretrained(model_folder, "cpu", precision)
    exact, rough = (model.explain(photos[0], "a red dog") for model in (captioner, lower))
    assert rough.caption.log_probability != exact.caption.log_probability
    assert math.isclose(rough.caption.log_probability, exact.caption.log_probability, rel_tol=0.05)
    assert {parameter.dtype for parameter in lower.model.parameters()} == {torch.float32}
    assert lower.caption(photos[0]).text


def test_a_photo_and_its_mirrored_view_get_one_caption_where_both_are_seen(
    captioner: Captioner, model_folder: Path, photos: list[Path]
) -> None:
    both = Captioner.from_pretrained(model_folder, "cpu", mirrored=True)
    assert not captioner.parts.preprocessing.hflip_tta
    size = captioner.parts.preprocessing.size[::-1]  # so that nothing is resampled
    pairs = [(photo, ImageOps.mirror(photo)) for photo in (Image.open(path).resize(size) for path in photos)]
    for photo, turned in pairs:
        assert close(both.caption(photo), both.caption(turned))
        assert not close(captioner.caption(photo), captioner.caption(turned))
    seen, mirrored = (both.explain(photo, "a red dog") for photo in pairs[0])
    for word, other in zip(seen.words, mirrored.words, strict=True):
        np.testing.assert_allclose(word.map, other.map[:, ::-1], atol=1e-4)
        assert math.isclose(word.evidence, other.evidence, abs_tol=1e-3)


def test_how_often_a_photo_is_seen_is_the_models_unless_it_is_said(model_folder: Path, tmp_path: Path) -> None:
    both = Captioner.from_pretrained(model_folder, "cpu", mirrored=True)
    both.save_pretrained(tmp_path / "both")
    for mirrored, expected in ((None, True), (True, True), (False, False)):
        loaded = Captioner.from_pretrained(tmp_path / "both", "cpu", mirrored=mirrored)
        assert loaded.parts.preprocessing.hflip_tta == expected


def test_a_device_or_precision_that_is_not_there(model_folder: Path) -> None:
    with pytest.raises(ConfigError, match="'gpu7'"):
        Captioner.from_pretrained(model_folder, "gpu7")
    with pytest.raises(ConfigError, match=r"float8.*bfloat16"):
        Captioner.from_pretrained(model_folder, precision="float8")


@pytest.mark.gpu
def test_a_gpu_says_the_same(captioner: Captioner, model_folder: Path, photos: list[Path]) -> None:
    assert all(map(close, captioner.caption(photos), Captioner.from_pretrained(model_folder).caption(photos)))
