"""One file from the network: resumed where it broke off, verified, and under its name only when it is whole."""

from __future__ import annotations

import base64
import binascii
import hashlib
import http.client
import os
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from pathlib import Path

from wordgaze import __version__
from wordgaze.errors import DataError, WordgazeError, first_line

_CHUNK = 64 * 1024
_PASSING = (408, 425, 429, 500, 502, 503, 504)
"""Statuses that another attempt may change."""


class FetchError(DataError):
    """A file can't be had; ``lasting``: by its own fault, not by the network's."""

    def __init__(self, message: str, *, lasting: bool = False) -> None:
        super().__init__(message)
        self.lasting = lasting


class Stopped(Exception):
    """The caller wants no more files."""


@dataclass(frozen=True)
class FetchOptions:
    """``attempts``: in a row that bring nothing new. ``first_wait``: seconds, which double up to ``most_wait``.

    ``timeout``: seconds without a byte. ``slowest``: bytes a second over the time of ``timeout``; a connection that is
    slower is opened anew.
    """

    attempts: int = 6
    timeout: float = 30.0
    slowest: int = 512
    first_wait: float = 1.0
    most_wait: float = 60.0


class _Broken(Exception):
    """An attempt failed, and another may succeed, after ``wait`` seconds if the server asked for them."""

    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait


def fetch(
    url: str,
    target: Path,
    verify: Callable[[Path, bool], None],
    options: FetchOptions = FetchOptions(),
    stop: threading.Event | None = None,
) -> None:
    """Write what is at ``url`` to ``target``.

    What is there before the end lies in ``target`` with ``.part`` added, from which a later call goes on. ``verify`` is
    called with that file and whether its checksum is that of the server; it raises a WordgazeError for a file that is
    not as it should be. Raises FetchError, Stopped, and OSError where ``target`` can't be written.
    """
    part = target.with_name(f"{target.name}.part")
    stop = stop or threading.Event()
    failures, most = 0, _size(part)
    while True:
        try:
            is_checked = _Attempt(url, part, options, stop).run()
            _verify(part, verify, is_checked)
            break
        except _Broken as error:
            size = _size(part)
            # What is new is a success: a large file may break off often.
            failures = 1 if size > most else failures + 1
            most = max(most, size)
            if failures >= options.attempts:
                raise FetchError(f"{error}, {failures} times in a row") from None
            wait = min(options.first_wait * 2 ** (failures - 1), options.most_wait)
            if stop.wait(wait if error.wait is None else min(error.wait, options.most_wait)):
                raise Stopped from None
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(part, target)


def _verify(part: Path, verify: Callable[[Path, bool], None], is_checked: bool) -> None:
    try:
        verify(part, is_checked)
    except WordgazeError as error:
        part.unlink(missing_ok=True)
        if is_checked:
            raise FetchError(f"the server's own file {error}", lasting=True) from None
        raise _Broken(f"what came {error}") from None


class _Attempt:
    """One request for what is not yet in ``part``."""

    def __init__(self, url: str, part: Path, options: FetchOptions, stop: threading.Event) -> None:
        self.url, self.part, self.options, self.stop = url, part, options, stop

    def run(self) -> bool:
        """Add to ``part`` what is missing; return whether the server gave a checksum, which it then has."""
        have = _size(self.part)
        headers = {"User-Agent": f"wordgaze/{__version__}"} | ({"Range": f"bytes={have}-"} if have else {})
        try:
            response = urllib.request.urlopen(
                urllib.request.Request(self.url, headers=headers), timeout=self.options.timeout
            )
        except urllib.error.HTTPError as error:
            with error:
                return self._refused(error.code, error.headers, have)
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise _Broken(f"no answer ({_reason(reason)})") from None
        with response:
            begin, total = _range(response.headers, response.status, have)
            if begin is None:
                self.part.unlink(missing_ok=True)
                raise _Broken("the server sent another part than was asked for")
            size = self._receive(response, begin)
        if total is not None and size != total:
            raise _Broken(f"broken off after {size:,} of {total:,} bytes")
        return self._has_checksum(response.headers, size)

    def _refused(self, status: int, headers: Message, have: int) -> bool:
        if status == 416 and re.fullmatch(rf"bytes \*/{have}", headers.get("Content-Range", "")):
            # It was whole already.
            return self._has_checksum(headers, have)
        if status == 416:
            self.part.unlink(missing_ok=True)
            raise _Broken("the server has less than was there already")
        sentence = f"the server answers {status} ({http.client.responses.get(status, 'unknown')})"
        if status not in _PASSING:
            raise FetchError(sentence, lasting=True)
        wait = headers.get("Retry-After", "")
        raise _Broken(sentence, float(wait) if re.fullmatch(r"\d{1,6}", wait) else None)

    def _receive(self, response: http.client.HTTPResponse, begin: int) -> int:
        """Write the body to ``part`` from the position ``begin`` on, and return the size of ``part``."""
        self.part.parent.mkdir(parents=True, exist_ok=True)
        # Unbuffered: what has come is kept where the process is killed.
        with self.part.open("rb+" if begin else "wb", buffering=0) as file:
            file.seek(begin)
            started, received = time.monotonic(), 0
            while chunk := self._read(response):
                file.write(chunk)
                received += len(chunk)
                elapsed = time.monotonic() - started
                if elapsed > self.options.timeout:
                    if received < self.options.slowest * elapsed:
                        raise _Broken(f"too slow ({received / elapsed:,.0f} bytes a second)")
                    started, received = time.monotonic(), 0
            file.truncate()
            return file.tell()

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        if self.stop.is_set():
            raise Stopped
        try:
            return response.read1(_CHUNK)
        except (OSError, http.client.HTTPException) as error:
            raise _Broken(f"broken off ({_reason(error)})") from None

    def _has_checksum(self, headers: Message, size: int) -> bool:
        expected = _md5(headers)
        if expected is None:
            return False
        with self.part.open("rb") as file:
            found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        if found != expected:
            self.part.unlink()
            raise _Broken(f"what came ({size:,} bytes) has another checksum than the server says")
        return True


def _range(headers: Message, status: int, have: int) -> tuple[int | None, int | None]:
    """Return where the body begins in the file, None if nowhere useful, and the size of the file, None if unknown."""
    length = headers.get("Content-Length", "")
    if status != 206:
        return 0, int(length) if length.isdecimal() else None
    match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", headers.get("Content-Range", ""))
    if match is None or int(match[1]) != have:
        return None, None
    return have, None if match[3] == "*" else int(match[3])


def _md5(headers: Message) -> str | None:
    """Return the MD5 digest of the whole file, in hexadecimal digits; None where the server does not say."""
    content = headers.get("Content-MD5")
    # Of a part it is the part's.
    if content is not None and headers.get("Content-Range") is None:
        try:
            return base64.b64decode(content, validate=True).hex()
        except (ValueError, binascii.Error):
            return None
    # Amazon S3's tag of an object that was written in one piece, and that it has not encrypted by a key of its own.
    tag = headers.get("ETag", "").strip('"')
    is_amazon = headers.get("Server") == "AmazonS3" and "kms" not in headers.get("x-amz-server-side-encryption", "")
    return tag if is_amazon and re.fullmatch(r"[0-9a-f]{32}", tag) else None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _reason(error: object) -> str:
    if isinstance(error, TimeoutError):
        return "nothing came in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return first_line(error) if isinstance(error, BaseException) else str(error)
