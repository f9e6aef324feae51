"""What is timed, and what of it is told; no test looks at a clock."""

import json
import sys

from scripts.experiments import benchmark_latency as script
from tests.model_folder import make_parts

from wordgaze.folder import save_folder


def test_the_ratio_is_of_the_medians(tmp_path, monkeypatch, capsys):
    folder, out = tmp_path / "model", tmp_path / "out.json"
    save_folder(make_parts(), folder, card="# small\n")
    results = []

    def counted(work):
        results.append(work())
        seconds = [6.0, 2.0][len(results) % 2 == 0] * (100 if len(results) <= 4 else 1)  # the first two warm up
        return seconds, results[-1]

    monkeypatch.setattr(script, "timed", counted)
    monkeypatch.setattr(script.torch, "set_num_threads", lambda count: None)
    monkeypatch.setattr(sys, "argv", ["benchmark", "--model", str(folder), "--rounds", "3", "--json", str(out)])
    script.main()
    captions, states = results[::2], results[1::2]
    assert len(captions) == len(states) == 5
    assert all(str(caption) for caption in captions)
    assert all(each.shape == (1, 24, 32) for each in states)
    found = json.loads(out.read_text())
    assert (found["caption_seconds"], found["encoder_seconds"], found["ratio"]) == (6.0, 2.0, 3.0)
    assert "6000 ms, the encoder alone 2000 ms: 3.00 times as long" in capsys.readouterr().out
