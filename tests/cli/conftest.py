from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def model(model_folder: Path) -> list[str]:
    """Return the options that give a command the small model."""
    return ["--model", str(model_folder), "--device", "cpu"]
