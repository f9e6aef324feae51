"""Claims: which worker captions a shard. A dead worker's claim expires, and another one takes the shard over.

A claim is a file made exclusively, ``.SHARD.claim.N``, whose time of change its owner renews. It is never changed by
others: who takes an expired claim over makes the next one, N + 1, exclusively, so that only one worker can. All are
removed once the shard is done. A worker that slept through its expiry finds the next claim, or its partial file gone,
and drops the shard. All times are those of the file system, so that clocks of machines may differ.
"""

from __future__ import annotations

import json
import os
import platform
import secrets
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

BEAT_SECONDS = 10.0
EXPIRY_SECONDS = 120.0


@dataclass(frozen=True)
class ClaimInfo:
    """What a claim file says. ``place``: the machine and its space of process ids; empty where that is not known.

    ``token``: in the names of the owner's own files; ``work``: what it does, which another worker may continue.
    """

    token: str
    host: str
    pid: int
    place: str
    begun: str
    work: str

    def is_dead(self) -> bool:
        """Return whether its process ran on this machine, and has ended."""
        return bool(self.place) and self.place == _place() and _begun(self.pid) != self.begun

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


class Clock(Protocol):
    """Tells the time, in seconds."""

    def now(self) -> float: ...


class Claims:
    """The claims in a folder.

    ``clock``: returns the file system's time; it need only be right within seconds.
    """

    def __init__(self, folder: Path, clock: Clock, beat: float = BEAT_SECONDS, expiry: float = EXPIRY_SECONDS):
        self.folder, self.clock, self.beat, self.expiry = folder, clock, beat, expiry

    def path(self, shard: str, number: int) -> Path:
        return self.folder / f".{shard}.claim.{number}"

    def take(self, shard: str, work: str) -> Claim | None:
        """Return a claim on a shard; None where another worker has one that has not expired."""
        info = ClaimInfo(secrets.token_hex(4), platform.node(), os.getpid(), _place(), _begun(os.getpid()), work)
        number = 0
        if not self._make(self.path(shard, 0), info):
            latest = self._latest(shard)
            if latest is None or not self._is_expired(latest):
                return None
            number = int(latest.suffix[1:]) + 1
            if not self._make(self.path(shard, number), info):
                return None
        return Claim(self, shard, number, info)

    def holder(self, shard: str) -> ClaimInfo | None:
        """Return who has a claim on a shard that has not expired, if anybody has and says so."""
        latest = self._latest(shard)
        return None if latest is None or self._is_expired(latest) else read_claim(latest)

    def is_live(self, shard: str, number: int) -> bool:
        """Return whether a claim is there and has not expired."""
        path = self.path(shard, number)
        return path.exists() and not self._is_expired(path)

    def _latest(self, shard: str) -> Path | None:
        number = 0
        while self.path(shard, number).exists():
            number += 1
        return None if number == 0 else self.path(shard, number - 1)

    def _is_expired(self, path: Path) -> bool:
        try:
            age = self.clock.now() - path.stat().st_mtime
        except OSError:
            # It is gone, so the shard is done.
            return False
        info = read_claim(path)
        return age > self.expiry or (info is not None and info.is_dead())

    @staticmethod
    def _make(path: Path, info: ClaimInfo) -> bool:
        try:
            with path.open("x", encoding="ascii") as file:
                file.write(json.dumps(asdict(info)))
        except FileExistsError:
            return False
        return True


class Claim:
    """A claim of this process, renewed until it is released or done."""

    def __init__(self, claims: Claims, shard: str, number: int, info: ClaimInfo) -> None:
        self.claims, self.shard, self.number, self.info = claims, shard, number, info
        self.is_lost = False
        """Whether another worker has taken the shard over."""
        self._ended = threading.Event()
        self._beats = threading.Thread(target=self._renew, name="wordgaze-claim", daemon=True)
        self._beats.start()

    def earlier(self) -> list[ClaimInfo]:
        """Return the claims that this one took over, the latest first."""
        paths = (self.claims.path(self.shard, number) for number in reversed(range(self.number)))
        return [info for info in map(read_claim, paths) if info is not None]

    def release(self) -> None:
        """Let others take the shard over at once, unless it is done or lost."""
        if self._end() and not self.is_lost:
            # The file stays: it names the partial file that others resume from.
            with suppress(OSError):
                os.utime(self.claims.path(self.shard, self.number), (0, 0))

    def done(self) -> None:
        """Remove the claim and those that it took over. The shard's marker must be there already."""
        self._end()
        # The latest stays last, so that nobody takes an earlier one over.
        for number in range(self.number + 1):
            self.claims.path(self.shard, number).unlink(missing_ok=True)

    def _end(self) -> bool:
        """Stop renewing; return whether that was still going on."""
        if self._ended.is_set():
            return False
        self._ended.set()
        self._beats.join()
        return True

    def _renew(self) -> None:
        path = self.claims.path(self.shard, self.number)
        while not self.is_lost and not self._ended.wait(self.claims.beat):
            try:
                os.utime(path)
                self.is_lost = self.claims.path(self.shard, self.number + 1).exists()
            except FileNotFoundError:
                self.is_lost = True
            # A file system that does not answer now may do so before the claim expires.
            except OSError:
                continue


class FileClock:
    """The time of a file system, whose clock may differ from this machine's: that of ``file``, touched now."""

    def __init__(self, file: Path) -> None:
        os.utime(file)
        self._start, self._monotonic = file.stat().st_mtime, time.monotonic()

    def now(self) -> float:
        return self._start + time.monotonic() - self._monotonic


def read_claim(path: Path) -> ClaimInfo | None:
    """Return what a claim file says; None where it is gone, or does not say it yet."""
    try:
        return ClaimInfo(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def _place() -> str:
    """Return this machine, as it was booted, with the space of its process ids; empty where the system can't say."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _begun(pid: int) -> str:
    """Return when a process began, in the system's ticks; empty where there is none."""
    try:
        # The name before it, in parentheses, may hold anything.
        state, *fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        # Ended, though its parent has not asked yet.
        return "" if state in "ZX" else fields[18]
    except (OSError, IndexError):
        return ""
