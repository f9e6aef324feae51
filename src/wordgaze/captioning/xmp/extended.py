"""JPEG's second packet, for what does not fit into the 64 KiB of one segment (XMP specification, part 3, 1.1.3.1)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple
from xml.sax.saxutils import quoteattr

from wordgaze.captioning.xmp.merge import ALT_TEXT, DESCRIPTION, WORDGAZE, Xmp, note
from wordgaze.captioning.xmp.packet import MAX_PACKET, RDF, Packet, Property, tag_name
from wordgaze.captioning.xmp.splice import spliced
from wordgaze.errors import PhotoError

MAX_STANDARD = 65_502
"""The most bytes of a packet in one segment."""

_PART = 65_400
_NOTE = "http://ns.adobe.com/xmp/note/"
_HAS_EXTENDED = f"{_NOTE} HasExtendedXMP"
_PIECES = "holds extended XMP of which parts are missing, doubled or damaged; remove that XMP"
_PADDING = re.compile(rb"\s+(?=<\?xpacket\s+end=)")
_EMPTY = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="' + RDF.encode() + b'"></rdf:RDF></x:xmpmeta>'


class Part(NamedTuple):
    """A piece of an extended packet, as a segment has it after its name."""

    guid: bytes
    total: int
    offset: int
    data: bytes

    @classmethod
    def read(cls, payload: bytes) -> Part:
        if len(payload) < 40:
            raise PhotoError(_PIECES)
        return cls(
            payload[:32], int.from_bytes(payload[32:36], "big"), int.from_bytes(payload[36:40], "big"), payload[40:]
        )

    def write(self) -> bytes:
        return self.guid + self.total.to_bytes(4, "big") + self.offset.to_bytes(4, "big") + self.data


def named_guid(standard: Packet) -> bytes:
    """Return which extended packet belongs to a standard one; empty for none."""
    return next((entry.text or "" for entry in standard.properties_of(_HAS_EXTENDED)), "").encode()


def joined(parts: Iterable[Part]) -> bytes | None:
    """Return the extended packet of these parts, which may be in any order; None where there are none."""
    ordered = sorted(parts, key=lambda part: part.offset)
    if not ordered:
        return None
    total = ordered[0].total
    if total > MAX_PACKET:
        raise PhotoError(f"holds XMP of {total:,} bytes, and at most {MAX_PACKET:,} are read; make it smaller")
    data = bytearray()
    for part in ordered:
        if part.offset != len(data) or part.total != total:
            raise PhotoError(_PIECES)
        data += part.data
    if len(data) != total:
        raise PhotoError(_PIECES)
    return bytes(data)


def split(extended: bytes) -> Iterator[Part]:
    """Yield an extended packet in parts of a segment each."""
    for offset in range(0, len(extended), _PART):
        yield Part(_guid(extended), len(extended), offset, extended[offset : offset + _PART])


def fitted(old: Xmp, new: Xmp) -> Xmp:
    """Return ``new`` so that its standard packet fits into a segment and names its extended one.

    The padding goes first; then whole properties move into the extended packet, the largest first. Ours stay.
    """
    standard, extended = new
    assert standard is not None
    if len(standard) > MAX_STANDARD:
        standard = _PADDING.sub(b"\n", standard)
    if len(standard) > MAX_STANDARD:
        packet = Packet(standard)
        if not named_guid(packet):
            edit = note(packet, "xmpNote", _NOTE, "HasExtendedXMP", "0" * 32)
            standard = spliced(standard, [edit])
        standard, extended = _moved(standard, extended or _EMPTY)
    if extended is not None and extended != old.extended:
        # A digest is found nowhere else in a packet, so that its bytes can be replaced where they stand.
        standard = standard.replace(named_guid(Packet(standard)), _guid(extended))
    return Xmp(standard, extended)


def _moved(standard: bytes, extended: bytes) -> tuple[bytes, bytes]:
    packet, excess, chosen = Packet(standard), len(standard) - MAX_STANDARD, []
    for size, entry in sorted(_movable(packet), key=lambda pair: -pair[0]):
        if excess <= 0:
            break
        chosen.append(entry)
        excess -= size
    if excess > 0:
        raise PhotoError(
            f"holds XMP that takes {MAX_STANDARD + excess:,} bytes of the {MAX_STANDARD:,} that a JPEG has for it, and "
            "can't be divided; write a sidecar"
        )
    blocks = b"".join(_block(packet, entry) for entry in chosen)
    target = Packet(extended)
    return spliced(standard, packet.removing(chosen)), spliced(extended, [target.adding(blocks)])


def _movable(packet: Packet) -> Iterator[tuple[int, Property]]:
    for entry in packet.properties():
        is_ours = entry.name in (ALT_TEXT, DESCRIPTION, _HAS_EXTENDED) or entry.name.startswith(WORDGAZE)
        if entry.element is not None and not is_ours:
            yield entry.element.end - entry.element.start, entry


def _block(packet: Packet, entry: Property) -> bytes:
    """Return a property in an rdf:Description of its own, under the prefixes that held where it stood."""
    assert entry.element is not None
    tag = tag_name(packet.raw, entry.description)
    rdf = tag.rpartition(b":")[0].decode()
    scope = {prefix: uri for prefix, uri in entry.description.scope().items() if prefix != "xml"}
    declared = "".join(f" xmlns{':' * bool(prefix)}{prefix}={quoteattr(uri)}" for prefix, uri in scope.items())
    about = f" {rdf}:about=".encode() + packet.about() if rdf else b""
    content = packet.raw[entry.element.start : entry.element.end]
    return b"<" + tag + about + declared.encode() + b">" + content + b"</" + tag + b">"


def _guid(extended: bytes) -> bytes:
    return hashlib.md5(extended, usedforsecurity=False).hexdigest().upper().encode()
