"""Captions that begin with a given text: its words stay, have maps, and count in no score."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from wordgaze.captioner import Captioner
from wordgaze.cli.main import main
from wordgaze.errors import ConfigError, ModelError
from wordgaze.generation.confidence import caption_features

PROMPT = "A red dog"
SEARCHES: list[dict[str, Any]] = [
    {"num_beams": 1},
    {"num_beams": 3, "num_captions": 2, "min_length": 4},
    {"sample": True, "num_captions": 2, "temperature": 2.0},
]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A photo for which the small model goes on with a new word."""
    Image.new("RGB", (120, 90), "red").save(tmp_path / "red.png")
    return tmp_path / "red.png"


@pytest.mark.parametrize("options", SEARCHES, ids=str)
def test_the_words_of_a_prompt_stay_and_have_no_probability(
    captioner: Captioner, photo: Path, photos: list[Path], options: dict[str, Any]
) -> None:
    for best in captioner.caption([photo, *photos], prompt=PROMPT, **options):
        for caption in (best, *best.alternatives):
            assert caption.text.startswith("a red dog")
            for word, given in zip(caption.words, ("a", "red", "dog"), strict=False):
                # What joins the last word to another is the model's, and so is the word.
                assert (word.probability is None) == (word.text == given)
                assert word.text.startswith(given)
            assert all(word.probability is not None for word in caption.words[3:])
    first = captioner.caption(photo, prompt=PROMPT).to_dict()["words"][2]
    assert json.dumps(first) == '{"word": "dog", "probability": null}'


def test_scores_are_those_of_the_words_that_were_found(captioner: Captioner, photo: Path) -> None:
    caption = captioner.caption(photo, prompt=PROMPT, min_length=8, max_length=8)
    ids = captioner.tokenizer.encode(caption.text)[:-1]
    first = len(captioner.tokenizer.encode(PROMPT)) - 1
    assert len(ids) == first + 8  # the prompt is not counted
    with torch.inference_mode():
        states = captioner.encode(captioner.transform(Image.open(photo))[0][None])
        logits = captioner.model(torch.tensor([ids[:-1]]), states).logits[0].log_softmax(-1)
    found = logits.gather(1, torch.tensor(ids[1:])[:, None])[first - 1 :]
    assert math.isclose(caption.log_probability, float(found.sum()), abs_tol=1e-4)
    probabilities = [word.probability for word in caption.words[3:]]
    assert caption.features() == caption_features(caption.log_probability, probabilities)


def test_the_words_of_a_prompt_have_maps(captioner: Captioner, photo: Path, tmp_path: Path) -> None:
    explanation = captioner.explain(photo, prompt=PROMPT, min_length=4)
    assert str(explanation.caption).startswith("a red dog")
    assert [word.probability is None for word in explanation.words][:4] == [True, True, True, False]
    as_text = captioner.explain(photo, text=str(explanation.caption))
    for word, other in zip(explanation.words[:3], as_text.words, strict=False):
        assert np.allclose(word.map, other.map, atol=1e-5) and math.isclose(word.map.sum(), 1, abs_tol=1e-5)
    for name in ("maps.png", "maps.html", "maps.npz"):
        explanation.save(tmp_path / name)
    assert np.isnan(np.load(tmp_path / "maps.npz")["probabilities"]).tolist()[:4] == [True, True, True, False]
    page = (tmp_path / "maps.html").read_text(encoding="utf-8")
    assert page.count("<td>given</td>") == 3 and "“dog”: given · " in page


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        (" ... ", r"The prompt ' \.\.\. ' holds no words"),
        ("a red dog " * 9, "max_length is 8 after a prompt of 27, but this model reads at most 24"),
        (5, "prompt=5"),
    ],
)
def test_a_prompt_that_no_caption_can_begin_with(captioner: Captioner, prompt: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        captioner.caption(Image.new("RGB", (30, 30)), prompt=prompt)


def test_a_model_may_have_a_prompt_of_its_own(captioner: Captioner, photo: Path, tmp_path: Path) -> None:
    captioner.save_pretrained(tmp_path)
    values = json.loads((tmp_path / "generation.json").read_text())
    (tmp_path / "generation.json").write_text(json.dumps(values | {"prompt": PROMPT}))
    own = Captioner.from_pretrained(tmp_path, "cpu")
    assert own.caption(photo).text == captioner.caption(photo, prompt=PROMPT).text
    assert own.caption(photo, prompt="").text == captioner.caption(photo).text


def test_a_prompt_of_its_own_must_fit_the_model(captioner: Captioner, tmp_path: Path) -> None:
    captioner.save_pretrained(tmp_path)
    values = json.loads((tmp_path / "generation.json").read_text())
    (tmp_path / "generation.json").write_text(json.dumps(values | {"prompt": "a red dog " * 9}))
    with pytest.raises(ModelError, match=r"generation\.json does not fit config\.json: .* a prompt of 27"):
        Captioner.from_pretrained(tmp_path, "cpu")


def test_prompts_and_ways_to_stop_on_the_command_line(
    model_folder: Path, captioner: Captioner, photo: Path, tmp_path: Path
) -> None:
    def run(*arguments: object) -> str:
        result = CliRunner().invoke(main, [*map(str, arguments), "--model", str(model_folder)])
        assert result.exit_code == 0, result.output
        return result.stdout

    found = json.loads(run("caption", photo, "--json", "--prompt", PROMPT, "--early-stopping", "true"))
    expected = captioner.caption(photo, prompt=PROMPT, early_stopping=True)
    assert found["caption"] == str(expected) and found["words"][0] == {"word": "a", "probability": None}
    table = run("explain", photo, "-o", tmp_path / "maps.json", "--prompt", PROMPT).splitlines()
    assert [line.split()[:2] for line in table[2:5]] == [["a", "given"], ["red", "given"], ["dog", "given"]]
    assert json.loads((tmp_path / "maps.json").read_text())["words"][1]["probability"] is None
