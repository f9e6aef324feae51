"""What all tests share: no network, no windows, the shared data, and markers that skip where they can't run."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

# Before anything imports huggingface_hub, matplotlib or torch.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # a process a core: threads beside it would wait for each other

import pytest

# Before timm and torchvision, which tests may import in any order.
from wordgaze import compat as compat

if TYPE_CHECKING:
    from wordgaze.captioner import Captioner

ROOT = Path(__file__).resolve().parents[1]
# A module of each extra that the extra `test` does not bring along.
EXTRAS = {"demo": "gradio", "heif": "pillow_heif", "ray": "ray"}


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder ``shared`` beside the checkout, with ``data`` and ``weights``; read-only."""
    folder = ROOT.parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("needs the shared photos: no folder `shared/data` beside the checkout")
    return folder


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model folder as training leaves it, which tests only read."""
    # Here, since timm takes seconds to import.
    from tests.model_folder import make_parts

    from wordgaze.folder import save_folder

    folder = tmp_path_factory.mktemp("model")
    save_folder(make_parts(), folder)
    return folder


@pytest.fixture(scope="session")
def exported_folder(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return ``model_folder`` as ONNX, which tests only read; made once, since torch takes seconds to export."""
    from filelock import FileLock

    from wordgaze.export.write import export_folder
    from wordgaze.folder import load_folder

    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # which all processes share
    folder = base / "exported"
    with FileLock(base / "exported.lock"):
        if not folder.exists():
            export_folder(load_folder(model_folder), folder)
    return folder


@pytest.fixture(scope="module")
def captioner(model_folder: Path) -> Captioner:
    """Return the captioner of ``model_folder``."""
    from wordgaze.captioner import Captioner

    return Captioner.from_pretrained(model_folder, "cpu")


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    """Return six good photos of several shapes, b.png to g.png."""
    from tests.model_folder import draw_photo

    folder = tmp_path / "photos"
    folder.mkdir()
    sizes = [(120, 90), (90, 120), (200, 40), (40, 200), (96, 64), (301, 77)]
    return [draw_photo(folder / f"{'bcdefg'[number]}.png", number, size) for number, size in enumerate(sizes)]


@pytest.fixture
def mixed(photos: list[Path]) -> Path:
    """Return the folder of ``photos`` with two broken ones: a.jpg is cut short, d2.png is text."""
    from PIL import Image

    folder = photos[0].parent
    Image.new("RGB", (64, 64), "red").save(folder / "a.jpg")
    whole = (folder / "a.jpg").read_bytes()
    (folder / "a.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "d2.png").write_text("no photo")
    (folder / "notes.txt").write_text("not even a name of a photo")
    return folder


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Run in a process a core (up to eight), where pytest-xdist is there; ``-n`` says otherwise.

    A file's tests stay together, and with them what they share, unless ``--dist`` says otherwise; a single file runs in
    this process.
    """
    # One of those processes starts none of its own, nor does a pytest that a test starts.
    if "PYTEST_XDIST_WORKER" in os.environ or not config.pluginmanager.hasplugin("xdist"):
        return
    files = [Path(argument.partition("::")[0]) for argument in config.args]
    single = len(files) == 1 and files[0].is_file()
    interactive = config.option.usepdb or config.option.capture == "no"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if config.option.numprocesses is None and not (single or interactive or cores == 1):
        config.option.numprocesses = min(cores, 8)
        if config.option.dist == "no":  # what --dist is where it was not given
            config.option.dist = "loadfile"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if " at 0x" in item.nodeid:
            raise pytest.UsageError(
                f"{item.nodeid} has an address in its name, which differs in each of several processes; "
                "use ids=stable (tests/ids.py)."
            )


def pytest_runtest_setup(item: pytest.Item) -> None:
    if marker := item.get_closest_marker("extra"):
        (extra,) = marker.args
        pytest.importorskip(EXTRAS[extra], reason=f'needs {EXTRAS[extra]}: pip install "wordgaze[{extra}]"')
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.accelerator.is_available():
            pytest.skip("needs an accelerator")
    if item.get_closest_marker("browser") and not any(map(shutil.which, ("chromium", "google-chrome", "chrome"))):
        pytest.skip("needs Chromium")
