"""An exported model captions and explains as the model folder that it was made of, and imports no torch."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from wordgaze.captioner import Caption, Captioner
from wordgaze.cli.main import main
from wordgaze.errors import ConfigError, ModelError

SEARCHES: list[dict[str, Any]] = [
    {},
    {"num_beams": 1},
    {"num_beams": 4, "num_captions": 3, "length_penalty": 0.5, "no_repeat_ngram_size": 2, "min_length": 4},
    {"sample": True, "num_captions": 2, "seed": 3, "temperature": 0.8, "top_k": 40},
    {"prompt": "a red", "early_stopping": "never"},
]


@pytest.fixture(scope="module")
def exported(exported_folder: Path) -> Captioner:
    return Captioner.from_pretrained(exported_folder)


def wordgaze(*arguments: object) -> Any:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def same(ours: Caption, theirs: Caption) -> bool:
    """Whether two captions have the same words, alternatives, and nearly the same numbers."""
    numbers = [
        [caption.log_probability, *(0.0 if word.probability is None else word.probability for word in caption.words)]
        for caption in (ours, theirs)
    ]
    return (
        [word.text for word in ours.words] == [word.text for word in theirs.words]
        and ours.text == theirs.text
        and np.allclose(*numbers, atol=1e-4)
        and len(ours.alternatives) == len(theirs.alternatives)
        and all(map(same, ours.alternatives, theirs.alternatives))
    )


@pytest.mark.parametrize("options", SEARCHES, ids=str)
def test_captions_are_those_of_torch(
    exported: Captioner, captioner: Captioner, photos: list[Path], options: dict[str, Any]
) -> None:
    ours, theirs = (each.caption(photos, **options) for each in (exported, captioner))
    assert all(map(same, ours, theirs))
    assert len({caption.text for caption in ours}) > 1


def test_two_views_of_a_photo(exported_folder: Path, model_folder: Path, photos: list[Path]) -> None:
    both, torchs = (
        Captioner.from_pretrained(folder, "cpu", mirrored=True) for folder in (exported_folder, model_folder)
    )
    assert all(map(same, both.caption(photos), torchs.caption(photos)))


def test_maps_are_those_of_torch(exported: Captioner, captioner: Captioner, photos: list[Path]) -> None:
    assert exported.methods == tuple(name for name in captioner.methods if name not in ("gradient", "rollout"))
    for method in (*exported.methods, "layer-0-head-1", "last+mean"):
        ours, theirs = (each.explain(photos[0], method=method) for each in (exported, captioner))
        assert same(ours.caption, theirs.caption) and ours.method == theirs.method == method
        for our, their in zip(ours.words, theirs.words, strict=True):
            assert np.allclose(our.map, their.map, atol=1e-5)
            assert math.isclose(our.evidence, their.evidence, abs_tol=1e-3) and our.grounded == their.grounded
        assert np.allclose(ours.words_attention, theirs.words_attention, atol=1e-5)
    assert exported.explain(photos[0]).method == "contrast"
    pixel_values = np.stack([exported.transform.array(exported.explain(photo).photo)[0] for photo in photos[:2]])
    texts = [["a red dog"], ["two men", "a cat"]]
    for our, their in zip(
        exported.explain_pixels(pixel_values, texts),
        captioner.explain_pixels(pixel_values, texts, "contrast"),
        strict=True,
    ):
        assert all(np.allclose(a.maps, b.maps, atol=1e-5) for a, b in zip(our, their, strict=True))


@pytest.mark.parametrize("method", ["gradient", "rollout", "last+gradient"])
def test_maps_that_need_gradients_are_refused(exported: Captioner, photos: list[Path], method: str) -> None:
    with pytest.raises(ConfigError, match=r"need gradients.*choose contrast, last, mean, layer-0, layer-1, or use"):
        exported.explain(photos[0], method=method)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"device": "cuda"}, "runs on the CPU alone, and device is 'cuda'; leave the device out"),
        ({"precision": "bfloat16"}, "precision is 'bfloat16', but an exported model has its own"),
        ({"backend": "torch"}, "is an exported model, which torch can't run; leave out the backend"),
        ({"backend": "tensorflow"}, "backend is 'tensorflow'; choose auto, torch, onnx"),
    ],
)
def test_what_an_exported_model_can_not_do(exported_folder: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Captioner.from_pretrained(exported_folder, **arguments)


def test_a_model_folder_is_not_run_by_onnx_runtime(model_folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"runs exported models, .* is none; make one with `wordgaze export .* OUT`"):
        Captioner.from_pretrained(model_folder, backend="onnx")


def test_an_exported_model_is_saved_by_copying(exported: Captioner, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="saved by copying its folder"):
        exported.save_pretrained(tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_missing_onnx_runtime_is_a_sentence(exported_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModelError, match=r'not installed here .*pip install "wordgaze\[onnx\]"'):
        Captioner.from_pretrained(exported_folder)


def test_a_folder_whose_parts_do_not_fit(exported_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(exported_folder, tmp_path / "model"))
    values = json.loads((folder / "preprocessor.json").read_text())
    (folder / "preprocessor.json").write_text(json.dumps({**values, "size": [96, 64]}))
    with pytest.raises(ModelError, match=r"preprocessor.json makes photos of size \(96, 64\)"):
        Captioner.from_pretrained(folder)


def test_commands_choose_the_backend(exported_folder: Path, model_folder: Path, photos: list[Path]) -> None:
    plain, auto, onnx = (
        wordgaze("caption", "--model", folder, *photos, *flags)
        for folder, flags in ((model_folder, []), (exported_folder, []), (exported_folder, ["--backend", "onnx"]))
    )
    assert plain.exit_code == 0 and plain.stdout == auto.stdout == onnx.stdout
    for arguments, sentence in (
        (("--model", exported_folder, "--backend", "torch"), "torch can't run"),
        (("--model", model_folder, "--backend", "onnx"), "wordgaze export"),
        (("--model", exported_folder, "--device", "cuda"), "CPU alone"),
        (("--model", exported_folder, "--precision", "float16"), "has its own"),
    ):
        result = wordgaze("caption", photos[0], *arguments)
        assert result.exit_code == 2 and sentence in result.stderr and len(result.stderr.splitlines()) == 1


def test_captions_and_maps_of_an_exported_model_import_no_torch(
    exported_folder: Path, photos: list[Path], tmp_path: Path
) -> None:
    code = (
        "import sys\n"
        "from wordgaze.cli.main import main\n"
        "main(sys.argv[1:], standalone_mode=False)\n"
        "heavy = {'torch', 'timm', 'torchvision', 'lightning', 'transformers', 'matplotlib', 'onnx', 'jsonargparse'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    for arguments in (["caption", "--json"], ["explain", "-o", str(tmp_path / "maps.json")]):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments, "--model", str(exported_folder), str(photos[0])],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == "[]"
