"""What all tests share: no network, no windows, the shared data, and markers that skip where they can't run."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

# Before anything imports huggingface_hub or matplotlib.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest

from wordgaze import compat  # noqa: F401  (tests may import timm and torchvision in any order)

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder ``shared`` beside the checkout, with ``data`` and ``weights``; read-only."""
    folder = ROOT.parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("needs the shared photos: no folder `shared/data` beside the checkout")
    return folder


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.accelerator.is_available():
            pytest.skip("needs an accelerator")
    if item.get_closest_marker("browser") and not any(
        map(shutil.which, ("chromium", "google-chrome", "chrome"))
    ):
        pytest.skip("needs Chromium")
