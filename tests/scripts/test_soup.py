"""The mean of several models as a model folder."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.model_folder import make_parts

from scripts import soup
from wordgaze.hub import TOKENIZER, load_folder, save_folder
from wordgaze.training.surgery import expand


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Two models of one encoder, whose decoders differ."""
    names = [tmp_path / "one", tmp_path / "other"]
    parts = [make_parts(0), make_parts(1)]
    parts[1].model.encoder.load_state_dict(parts[0].model.encoder.state_dict())
    for folder, each in zip(names, parts, strict=True):
        save_folder(each, folder)
    return names


def test_weights_are_averaged_and_what_is_shared_keeps_its_bits(
    folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mean"
    flags = ["--length_penalty", "1.5", "--stretch", "1.3", "--mirrored"]
    monkeypatch.setattr(sys, "argv", ["soup.py", *map(str, folders), "--out", str(out), *flags])
    soup.main()
    assert capsys.readouterr().out == f"{out}: the mean of 2 models\n"
    one, other, mean = (load_folder(folder) for folder in (*folders, out))
    for name, tensor in mean.model.encoder.state_dict().items():
        assert torch.equal(tensor, one.model.encoder.state_dict()[name]), name
    for name, tensor in mean.model.decoder.state_dict().items():
        both = [each.model.decoder.state_dict()[name] for each in (one, other)]
        assert torch.allclose(tensor, (both[0] + both[1]) / 2, atol=1e-6), name
    assert not torch.equal(
        one.model.decoder.token_embedding.weight, other.model.decoder.token_embedding.weight
    )
    assert mean.card != other.card and mean.confidence is None
    assert (mean.generation.length_penalty, other.generation.length_penalty) == (1.5, 1.0)
    assert (mean.preprocessing.stretch, other.preprocessing.stretch) == (1.3, 1.0)
    assert (mean.preprocessing.mirrored, other.preprocessing.mirrored) == (True, False)


def test_models_of_two_tokenizers_have_no_mean(folders: list[Path]) -> None:
    file = folders[0] / TOKENIZER
    file.write_text(file.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    with pytest.raises(SystemExit, match=r"one differs from .*other in its sizes or tokenizer"):
        soup.mean_of(folders)


def test_what_stages_learnt_is_added(
    folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    third, out = tmp_path / "third", tmp_path / "sum"
    save_folder(make_parts(2), third)
    one, other = folders
    stages = ["--learnt", str(other), str(one), "--learnt", str(one), str(third), "--scale", "0.8"]
    monkeypatch.setattr(sys, "argv", ["soup.py", str(third), "--out", str(out), *stages])
    soup.main()
    assert capsys.readouterr().out == f"{out}: {third}, and what 2 stages learnt\n"
    states = [load_folder(folder).model.state_dict() for folder in (one, other, third, out)]
    for name, tensor in states[3].items():
        first, second, begun = (state[name].float() for state in states[:3])
        expected = begun + 0.8 * ((second - first) + (first - begun)) / 2
        assert torch.allclose(tensor.float(), expected, atol=1e-5), name


def test_what_differs_is_rounded_row_by_row(
    folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact, out = tmp_path / "exact", tmp_path / "rounded"
    for folder, flags in ((exact, []), (out, ["--round", "4"])):
        monkeypatch.setattr(sys, "argv", ["soup.py", *map(str, folders), "--out", str(folder), *flags])
        soup.main()
    before, after = (load_folder(folder).model for folder in (exact, out))
    for name, tensor in before.encoder.state_dict().items():
        assert torch.equal(tensor, after.encoder.state_dict()[name]), name
    rounded = after.decoder.state_dict()
    for name, tensor in before.decoder.state_dict().items():
        if tensor.ndim < 2:
            assert torch.equal(tensor, rounded[name]), name
            continue
        step = tensor.std(dim=1, keepdim=True).clamp(min=1e-6).log2().sub(4).floor().exp2()
        assert ((tensor - rounded[name]).abs() <= step / 2).all(), name
        assert torch.equal(rounded[name] / step, (rounded[name] / step).round()), name
        assert torch.equal(rounded[name].half().float(), rounded[name]), name


def test_models_of_two_sizes_have_no_mean(folders: list[Path], tmp_path: Path) -> None:
    parts = make_parts(0)
    larger = replace(parts.model.config.encoder, image_size=(96, 96))
    preprocessing = replace(parts.preprocessing, size=(96, 96))
    save_folder(
        replace(parts, model=expand(parts.model, larger), preprocessing=preprocessing), tmp_path / "larger"
    )
    with pytest.raises(SystemExit, match=r"one differs from .*larger in its sizes or tokenizer"):
        soup.mean_of([folders[0], tmp_path / "larger"])
