"""What is simulated of large runs, and what their cost is computed from; no test looks at a clock."""

import json
import sys

import pytest
from scripts.experiments import many_shards, scale_cost


def test_a_simulated_folder_is_listed_resumed_and_merged(tmp_path, monkeypatch, capsys):
    pytest.importorskip("pyarrow")
    monkeypatch.setattr(
        sys, "argv", ["many_shards", "--shards", "20", "--rows", "3", "--json", str(tmp_path / "a.json")]
    )
    monkeypatch.setattr(many_shards, "time_command", lambda *arguments: _in_process(arguments))
    many_shards.main()
    result = json.loads((tmp_path / "a.json").read_text())
    assert result["rows"] == 57 and result["rerun"]["seconds"] > 0
    assert result["merge.jsonl all"]["bytes"] > 10 * result["merge.jsonl tenth"]["bytes"]
    assert "merge.parquet all: " in capsys.readouterr().out


def _in_process(arguments):
    from click.testing import CliRunner

    from wordgaze.cli.main import main

    done = CliRunner().invoke(main, arguments)
    if arguments[0] == "status":
        assert "shards: 19 of 20 done" in done.stdout and "photos: 57 (38 success, 19 refused)" in done.stdout
    return 0.1, 10.0, done.exit_code


def test_the_cost_is_that_of_the_highest_rate(tmp_path, monkeypatch, capsys):
    def row(batch, beams, rate):
        return {"model": "m", "device": "cpu", "num_beams": beams, "batch": batch, "captions_per_second": rate}

    measured = {"machine": {"cores": 2}, "whole": [row(1, 3, 5.0), row(8, 3, 10.0), row(8, 1, 20.0)]}
    (tmp_path / "a.json").write_text(json.dumps(measured))
    flags = ["scale_cost", str(tmp_path / "a.json"), "--photos", "36000000", "--days", "10"]
    monkeypatch.setattr(sys, "argv", flags)
    scale_cost.main()
    assert capsys.readouterr().out.splitlines()[2:] == [
        "| m | cpu, 2 cores | 1 | 20.0 | 1,000 | 3 |",
        "| m | cpu, 2 cores | 3 | 10.0 | 2,000 | 5 |",
    ]


def test_the_page_shows_the_cost_at_the_rates_that_are_there(monkeypatch, capsys):
    """Fails when docs/performance was measured anew: python -m scripts.experiments.scale_cost --write."""
    monkeypatch.setattr(sys, "argv", ["scale_cost"])
    scale_cost.main()
    page = scale_cost.PAGE.read_text(encoding="utf-8")
    assert page == scale_cost.page_with(capsys.readouterr().out.strip(), page)
