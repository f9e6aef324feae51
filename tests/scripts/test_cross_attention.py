"""docs/cross-attention.md is what the script makes of the bundled model, and what it says of the model holds."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from scripts.docs.cross_attention import __main__ as script
from scripts.docs.cross_attention import cost, pictures, values
from scripts.docs.cross_attention import reading as by_hand
from torch.utils.flop_counter import FlopCounterMode

from scripts import ROOT
from wordgaze.captioner import Captioner
from wordgaze.cli.main import main
from wordgaze.hub import bundled_folder
from wordgaze.model.attention import Attention

COMMITTED = (script.FOLDER / script.PAGE).read_text(encoding="utf-8")
MEASURED = json.loads((script.FOLDER / script.MEASUREMENTS).read_text(encoding="utf-8"))
AGAIN = "the page is old; run `python -m scripts.docs.cross_attention`"
NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


@pytest.fixture(scope="module")
def reading():
    return by_hand.read(Captioner.from_pretrained(device="cpu"))


def test_the_page_is_what_the_script_writes(reading):
    """Words to the letter; numbers may differ in their last digit from processor to processor."""
    written = values.page(reading, MEASURED)
    assert NUMBER.sub("#", written) == NUMBER.sub("#", COMMITTED), AGAIN
    found, shown = ([float(n.replace(",", "")) for n in NUMBER.findall(page)] for page in (written, COMMITTED))
    assert found == pytest.approx(shown, abs=0.011, rel=0.01), AGAIN


def test_the_template_leaves_no_value_out(reading):
    found = values.values_of_reading(reading) | values.values_of_cost(reading)
    found |= values.values_of_measurements(MEASURED)
    assert set(values.PROSE.templates["page"].get_identifiers()) == set(found)


def test_the_measurements_are_of_the_bundled_model(reading):
    """A trial with tiny sizes must not pass for them unseen."""
    decoder = reading.captioner.model.config.decoder
    sizes = (MEASURED["width"], MEASURED["heads"], MEASURED["layers"], MEASURED["grid_patches"])
    assert sizes == (decoder.width, decoder.heads, decoder.layers, reading.rows.shape[1]), "measure again"
    assert MEASURED["quick"] == ("hold a place" in COMMITTED)


def test_links_lead_somewhere_and_no_picture_is_old_or_large():
    targets = re.findall(r"\]\(([^)#]+)\)", COMMITTED)
    assert all((script.FOLDER / target).is_file() for target in targets)
    shown = {target for target in targets if target.startswith(script.PICTURES)}
    kept = {f"{script.PICTURES}/{path.name}" for path in (script.FOLDER / script.PICTURES).iterdir()}
    assert kept == shown | {script.MEASUREMENTS}
    model = pictures.fingerprint(bundled_folder() / "model.safetensors", ROOT / by_hand.PHOTO)
    numbers = pictures.fingerprint(script.FOLDER / script.MEASUREMENTS)
    for name in shown:
        path = script.FOLDER / name
        comment = Image.open(path).info["comment"]
        made_from = comment.decode() if isinstance(comment, bytes) else comment
        assert made_from == (numbers if path.stem in ("cost", "cache") else model), AGAIN
        assert path.stat().st_size < 150_000


def test_output_is_weights_times_values_with_the_models_own_tensors(reading):
    model = reading.captioner.model
    with torch.no_grad():
        own = model(reading.ids, reading.states, output_attentions=True)
        assert torch.allclose(
            by_hand.read_by_hand(model.decoder, reading.ids, reading.states)[0], own.logits, atol=1e-3
        )
        for block, layer, weights in zip(model.decoder.blocks, reading.layers, own.cross_attentions, strict=True):
            cross = block.cross_attention
            assert torch.allclose(layer["weights"], weights, atol=1e-5)
            assert torch.allclose(weights.sum(-1), torch.ones(weights.shape[:3]), atol=1e-5)
            product = (weights @ layer["value"]).transpose(1, 2).flatten(2)
            fused, none = cross(layer["asking"], layer["key"], layer["value"])
            assert none is None
            assert torch.allclose(cross.output(product), fused, atol=1e-5)
            parts = by_hand.parts_of_patches(layer, cross).sum(dim=1) + cross.output.bias
            assert torch.allclose(parts, fused[0], atol=1e-4)


def test_the_rows_are_those_that_explain_shows(reading):
    raw = reading.raw.words[reading.explanation.words.index(reading.word)].map
    spans = reading.captioner.tokenizer.words([*reading.ids[0].tolist(), reading.captioner.tokenizer.eos_id])
    tokens = next(span for span in spans if span.start == reading.row + 1)
    rows = reading.rows[tokens.start - 1 : tokens.stop - 1].mean(dim=0)
    assert raw.flatten() == pytest.approx(rows.numpy(), abs=1e-5)


def test_the_code_prints_what_the_page_says():
    code = re.search(r"```python\n(.*?)```", COMMITTED, re.DOTALL)[1]
    printed = re.search(r"```text\n(.*?)```", COMMITTED, re.DOTALL)[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout == printed


@pytest.mark.parametrize("line", re.findall(r"`(wordgaze [^`]+)`", COMMITTED))
def test_its_commands_run_or_are_at_least_understood(line, reading, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").symlink_to(ROOT / "demo")
    _, command, *arguments = line.split()
    if command == "grounding":  # its files are the reader's own
        result = CliRunner().invoke(main, [command, *arguments, "--faithfulness", "2"])
        assert result.exit_code == 2
        assert "FILE" in result.stderr and "Usage" not in result.stderr
        return
    result = CliRunner().invoke(main, [command, *arguments])
    assert result.exit_code == 0, result.output
    if "maps.json" in arguments:
        written = json.loads((tmp_path / "maps.json").read_text(encoding="utf-8"))
        expected = reading.explanation.words_attention
        assert np.array(written["words_attention"]) == pytest.approx(expected, abs=1e-4)


def test_what_is_cached_changes_no_logit(reading):
    model = reading.captioner.model
    with torch.no_grad():
        whole = model(reading.ids, reading.states).logits[0]
        for cached in cost.CACHED:
            steps = torch.cat(list(cost.write(model.decoder, reading.states, reading.ids, cached)))
            assert torch.allclose(steps, whole, atol=1e-3), cached


def test_the_products_are_as_many_as_the_page_says():
    cross, (tokens, patches, width) = Attention(24, 3), (5, 7, 24)
    with FlopCounterMode(display=False) as counter:
        key, value = cross.key_value(torch.randn(1, patches, width))
        of_patches = counter.get_total_flops() // 2
        cross(torch.randn(1, tokens, width), key, value, output_attentions=True)
    assert of_patches == 2 * patches * width**2
    rest = 2 * tokens * width**2 + 2 * tokens * patches * width
    assert counter.get_total_flops() // 2 - of_patches == rest


def test_peak_memory_counts_what_is_held_at_once():
    def three_then_one():
        held = [torch.empty(1 << 18) for _ in range(3)]
        del held
        torch.empty(1 << 18)

    assert cost.peak_bytes(three_then_one) == 3 * 4 * (1 << 18)


RESIDENT = """
import torch
from scripts.docs.cross_attention.cost import peak_bytes
from wordgaze.model.attention import Attention

def resident():  # its peak; getrusage's begins with that of the process which started this one
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

cross, residents, allocated = Attention(320, 5).eval(), [], []
with torch.inference_mode():
    key, value = cross.key_value(torch.randn(1, 4096, 320))
    for hidden in torch.randn(1, 1024, 320), torch.randn(1, 2048, 320):
        allocated.append(peak_bytes(lambda: cross(hidden, key, value, output_attentions=True)))
        residents.append(resident())
print(residents[1] - residents[0], allocated[1] - allocated[0])
"""


def test_peak_memory_agrees_with_the_resident_set_of_the_process():
    """By how much both grow from one table of weights to another of twice the size: what came before cancels out."""
    if not Path("/proc/self/status").is_file():
        pytest.skip("needs Linux's /proc")
    done = subprocess.run([sys.executable, "-c", RESIDENT], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    resident, allocated = map(int, done.stdout.split()[-2:])
    assert allocated >= 2 * 1024 * 4096 * 5 * 4  # the scores and the weights
    assert resident == pytest.approx(allocated, rel=0.1)


@pytest.mark.slow
def test_the_script_measures_and_writes_everything(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["", "--measure", "--quick", "--folder", str(tmp_path)])
    script.main()
    written = {path.name for path in (tmp_path / script.PICTURES).iterdir()}
    assert written == {path.name for path in (script.FOLDER / script.PICTURES).iterdir()}
    page = (tmp_path / script.PAGE).read_text(encoding="utf-8")
    assert "hold a place" in page
    measured = json.loads((tmp_path / script.MEASUREMENTS).read_text(encoding="utf-8"))
    for point in measured["over_patches"] + measured["over_words"]:
        assert all(point[way]["seconds"] > 0 for way in cost.WAYS)
        assert point["explicit"]["bytes"] > point["fused"]["bytes"]
    for name in written:
        Image.open(tmp_path / script.PICTURES / name).load() if not name.endswith(".json") else None
