"""``wordgaze demo``: a sentence without Gradio, and with it a page for this machine only."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image
from tests.model_folder import mixed, model_folder, photos  # noqa: F401

from wordgaze.captioner import Captioner
from wordgaze.cli.main import main

# ruff: noqa: F811  (fixtures are arguments of the same name)

APP = Path(__file__).resolve().parents[2] / "demo" / "app.py"


def test_without_gradio_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    result = CliRunner().invoke(main, ["demo", "--model", "./nothere"])
    assert result.exit_code == 2
    assert result.stderr == 'wordgaze: The demo needs Gradio; install it: pip install "wordgaze[demo]"\n'


def test_the_app_only_launches_it() -> None:
    lines = [
        line for line in APP.read_text(encoding="utf-8").splitlines() if line and not line.startswith('"""')
    ]
    assert lines == ["from wordgaze.demo import launch", 'if __name__ == "__main__":', "    launch()"]


def test_a_photo_in_its_caption_and_maps_out(
    model_folder: Path, mixed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gradio", reason='needs Gradio: pip install "wordgaze[demo]"')
    from gradio_client import Client, handle_file
    from gradio_client.exceptions import AppError

    from wordgaze import demo

    captioner = Captioner.from_pretrained(model_folder, "cpu")
    page = demo.start(captioner)
    try:
        client = Client(page.local_url, verbose=False)
        caption, picture = client.predict(handle_file(str(mixed / "b.png")), "", api_name="/explain")
        expected = captioner.explain(mixed / "b.png")
        assert caption == expected.caption.text
        with Image.open(picture) as grid:
            assert grid.size == expected.grid().size
        caption, _ = client.predict(handle_file(str(mixed / "b.png")), "A red dog.", api_name="/explain")
        assert caption == "a red dog"
        with pytest.raises(AppError, match="is damaged"):
            client.predict(handle_file(str(mixed / "a.jpg")), "", api_name="/explain")
        with pytest.raises(AppError, match="no photo yet"):
            client.predict(None, "", api_name="/explain")
        port = int(page.local_url.rstrip("/").rpartition(":")[2])
        # A page for everybody would be found at each of the loopback addresses, too.
        with pytest.raises(OSError), socket.create_connection(("127.0.0.2", port), timeout=2):
            pass
    finally:
        page.close(verbose=False)
