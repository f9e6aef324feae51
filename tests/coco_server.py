"""A server on this machine in place of COCO's: answers ranges, and misbehaves where a test asks for it."""

from __future__ import annotations

import hashlib
import io
import json
import re
import threading
import time
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from PIL import Image

Fault = Callable[["Handler", bytes, int], None]
"""Answers instead of the server: gets the file's content and the first byte that was asked for."""


class CocoServer(ThreadingHTTPServer):
    """``files`` by path; ``faults``: for a path, what to do with its next requests; ``requests``: path and Range."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.faults: defaultdict[str, list[Fault]] = defaultdict(list)
        self.requests: list[tuple[str, str | None]] = []
        self.is_amazon = False
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def asked_for(self, path: str) -> list[str | None]:
        """Return the Range of each request for ``path``."""
        return [asked for name, asked in self.requests if name == path]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone is no news."""


class Handler(BaseHTTPRequestHandler):
    server: CocoServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        with self.server.lock:
            self.server.requests.append((self.path, asked))
            fault = self.server.faults[self.path].pop(0) if self.server.faults[self.path] else None
        content = self.server.files.get(self.path)
        if content is None:
            status(404)(self, b"", 0)
            return
        begin = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked else 0  # type: ignore[index]
        (fault or answer)(self, content, begin)

    def log_message(self, *_: Any) -> None:
        pass

    def begin(self, code: int, **headers: Any) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def version_string(self) -> str:
        return "AmazonS3" if self.server.is_amazon else "Test"

    def tags(self, content: bytes) -> dict[str, str]:
        return {"ETag": f'"{hashlib.md5(content).hexdigest()}"'}


def answer(handler: Handler, content: bytes, begin: int) -> None:
    """Answer as one should."""
    tags = handler.tags(content)
    if begin and begin >= len(content):
        handler.begin(416, Content_Range=f"bytes */{len(content)}", Content_Length=0, **tags)
        return
    part = f"bytes {begin}-{len(content) - 1}/{len(content)}"
    ranges = {"Content_Range": part} if begin else {}
    handler.begin(206 if begin else 200, Content_Length=len(content) - begin, **ranges, **tags)
    handler.wfile.write(content[begin:])


def status(code: int, **headers: Any) -> Fault:
    return lambda handler, content, begin: handler.begin(code, Content_Length=0, **headers)


def break_off(share: float) -> Fault:
    """Send a part of what was asked for, and close the connection."""

    def fault(handler: Handler, content: bytes, begin: int) -> None:
        ranges = {"Content_Range": f"bytes {begin}-{len(content) - 1}/{len(content)}"} if begin else {}
        handler.begin(206 if begin else 200, Content_Length=len(content) - begin, **ranges)
        handler.wfile.write(content[begin : begin + int(share * (len(content) - begin))])
        handler.close_connection = True

    return fault


def claim(size: int) -> Fault:
    """Say that the file has ``size`` bytes more than it has, or fewer, and send no more than that."""

    def fault(handler: Handler, content: bytes, begin: int) -> None:
        if begin >= len(content):
            handler.begin(416, Content_Range=f"bytes */{len(content)}", Content_Length=0)
            return
        ranges = {"Content_Range": f"bytes {begin}-{len(content) + size - 1}/{len(content) + size}"} if begin else {}
        handler.begin(206 if begin else 200, Content_Length=len(content) - begin + size, **ranges)
        handler.wfile.write(content[begin : len(content) + min(size, 0)])
        handler.close_connection = True

    return fault


def whole_again(handler: Handler, content: bytes, begin: int) -> None:
    """Ignore the range."""
    answer(handler, content, 0)


def other_range(handler: Handler, content: bytes, begin: int) -> None:
    """Answer with another part."""
    handler.begin(206, Content_Length=1, Content_Range=f"bytes 0-0/{len(content)}")
    handler.wfile.write(content[:1])


def trickle(seconds: float, chunk: int = 1) -> Fault:
    """Send ``chunk`` bytes, wait, and so on."""

    def fault(handler: Handler, content: bytes, begin: int) -> None:
        ranges = {"Content_Range": f"bytes {begin}-{len(content) - 1}/{len(content)}"} if begin else {}
        handler.begin(206 if begin else 200, Content_Length=len(content) - begin, **ranges)
        for start in range(begin, len(content), chunk):
            handler.wfile.write(content[start : start + chunk])
            handler.wfile.flush()
            time.sleep(seconds)

    return fault


def flipped(handler: Handler, content: bytes, begin: int) -> None:
    """Send another byte in the middle, under the right checksum."""
    damaged = bytearray(content)
    damaged[len(content) // 2] ^= 0xFF
    handler.begin(200, Content_Length=len(content), **handler.tags(content))
    handler.wfile.write(damaged)


def page(handler: Handler, content: bytes, begin: int) -> None:
    """Send a web page, as the login of a hotel's network does."""
    text = b"<html><body>Please log in.</body></html>"
    handler.begin(200, Content_Length=len(text))
    handler.wfile.write(text)


def jpeg(seed: int, size: tuple[int, int] = (96, 64)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize(size).save(file, "JPEG")
    return file.getvalue()


def make_coco(server: CocoServer, train: int = 6, restval: int = 2, val: int = 3, test: int = 3) -> list[str]:
    """Give the server Karpathy's archive and its photos; return the photos' names, by id."""
    images, names = [], []
    for split, count in (("train", train), ("restval", restval), ("val", val), ("test", test)):
        for _ in range(count):
            number = len(images) + 1
            folder = "train2014" if split == "train" else "val2014"
            name = f"COCO_{folder}_{number:012}.jpg"
            sentences = [{"raw": f"a dog of number {number}, said by {n}", "sentid": 10 * number + n} for n in range(5)]
            image = {"filepath": folder, "filename": name, "split": split, "cocoid": number, "sentences": sentences}
            images.append(image)
            names.append(f"{folder}/{name}")
            server.files[f"/{names[-1]}"] = jpeg(number)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("dataset_flickr8k.json", "{}")
        archive.writestr("dataset_coco.json", json.dumps({"dataset": "coco", "images": images[::-1]}))
    server.files["/caption_datasets.zip"] = file.getvalue()
    return names


@contextmanager
def serving() -> Iterator[CocoServer]:
    server = CocoServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
