"""Headless Chromium, watched: what it asks of whom, what it complains about, and pictures for people to look at.

Pictures go to the folder of the environment variable WORDGAZE_SCREENSHOTS, else to one that the last lines name.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

FOLDER = pytest.StashKey[Path]()
DESKTOP = {"viewport": {"width": 1280, "height": 900}}
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
DARK = {**DESKTOP, "color_scheme": "dark"}

TIMEOUT = 120_000  # milliseconds; a machine may be busy with something else

Visit = Callable[..., Any]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Start the browser once for all tests."""
    playwright = pytest.importorskip("playwright.sync_api", reason='needs Playwright: pip install "wordgaze[browser]"')
    path = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
    # Its sandbox needs rights that containers don't give; the pages here are our own.
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def pictures(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the screenshots."""
    given = os.environ.get("WORDGAZE_SCREENSHOTS")
    folder = Path(given) if given else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    request.config.stash[FOLDER] = folder
    return folder


@pytest.fixture
def visit(chromium: Any) -> Iterator[Visit]:
    """Return ``visit(url, **context)``, which opens a page in a context of its own.

    At the end, no page may have asked anything of another host, or have had an error.
    """
    contexts, asked, errors = [], [], []

    def watch(page: Any) -> None:
        page.on("request", lambda request: asked.append(request.url))
        page.on("websocket", lambda socket: asked.append(socket.url))
        page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))

    def go(url: str, **context: Any) -> Any:
        contexts.append(chromium.new_context(**(context or DESKTOP)))
        contexts[-1].set_default_timeout(TIMEOUT)
        page = contexts[-1].new_page()
        watch(page)
        page.goto(url)
        return page

    yield go
    for context in contexts:
        context.close()
    assert [url for url in asked if not is_local(url)] == []
    assert errors == []


def is_local(url: str) -> bool:
    """Return whether ``url`` stays on this machine."""
    parts = urlsplit(url)
    return parts.scheme in ("file", "data", "blob", "about") or parts.hostname == "127.0.0.1"


@contextmanager
def still(page: Any, *selectors: str) -> Iterator[None]:
    """Check that nothing of ``selectors`` moves or changes its size meanwhile."""

    def places() -> list[Any]:
        return [page.locator(selector).first.bounding_box() for selector in selectors]

    before = places()
    yield
    assert places() == before


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    folder = config.stash.get(FOLDER, None)
    if folder is not None:
        count = len(list(folder.glob("*.png")))
        terminalreporter.write_line(f"{count} screenshots to look at: {folder}")
