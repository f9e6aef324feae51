"""What the demo's server takes in: bodies of a known size, and so many bytes of uploads at a time."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from wordgaze.demo.page import MAX_BYTES

MAX_STORED = 1024**3
"""Bytes of all uploads together, those that are coming in too; each is deleted within an hour and a half."""

_FORM_BYTES = 64 * 1024  # of what is around an upload, and of any other request


class Limits:  # an ASGI application around Gradio's
    """Refuse a body larger than any that the page sends before it is read, and uploads that don't fit any more.

    Gradio limits each file of an upload, but not their number, nor fields that are no files, which it keeps in memory.
    """

    def __init__(self, app: Any) -> None:
        self.app = app
        self._coming: list[int] = []  # bytes of each upload that is not whole yet

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self.app(scope, receive, send)
            return
        is_upload = scope["path"].endswith("/upload")
        length = dict(scope["headers"]).get(b"content-length", b"")
        refusal = self._refusal(length, is_upload)
        if refusal is not None:
            await _refuse(send, *refusal)
        elif is_upload:
            await self._upload(int(length), scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _refusal(self, length: bytes, is_upload: bool) -> tuple[int, str] | None:
        """Return the status and the sentence for a request that is refused by its size."""
        most = MAX_BYTES + _FORM_BYTES if is_upload else _FORM_BYTES
        if not length.isdigit():
            return 411, "The request does not say how long it is; send it with a Content-Length."
        if int(length) > most and is_upload:
            return 413, f"The photo has more than {MAX_BYTES // 1024**2} MB; make it smaller first."
        if int(length) > most:
            return 413, f"The request has more than {_FORM_BYTES // 1024} KB, which the page never sends."
        if is_upload and _stored_bytes() + sum(self._coming) + int(length) > MAX_STORED:
            return 503, "The demo is busy: it holds as many photos as it may; try again in an hour."
        return None

    async def _upload(self, length: int, scope: Any, receive: Any, send: Any) -> None:
        self._coming.append(length)
        try:
            await self.app(scope, receive, send)
        finally:
            self._coming.remove(length)
            if not self._coming:
                _remove_partial()


async def _refuse(send: Any, status: int, sentence: str) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps({"detail": sentence}).encode()})


def _folder() -> Path:
    return Path(os.environ["GRADIO_TEMP_DIR"])


def _stored_bytes() -> int:
    """Return the size of all uploads that are whole."""
    sizes = 0
    for folder, _, names in os.walk(_folder()):
        for name in names if Path(folder) != _folder() else ():
            try:
                sizes += os.path.getsize(os.path.join(folder, name))
            except OSError:  # deleted meanwhile
                continue
    return sizes


def _remove_partial() -> None:
    """Remove what is left of uploads that broke off: whole ones lie in folders of their own."""
    for path in _folder().iterdir():
        if path.is_file():
            path.unlink(missing_ok=True)
