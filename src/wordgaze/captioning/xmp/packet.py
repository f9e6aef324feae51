"""An XMP packet: XML whose elements know which bytes they are, so that an edit leaves all others as they stand.

A parser that writes its tree again would lose prefixes, comments, CDATA, the order of attributes and the padding.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from wordgaze.captioning.xmp.splice import Splice
from wordgaze.errors import PhotoError

# Expanded names are expat's: the namespace, a space, the local name.
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_XML = "http://www.w3.org/XML/1998/namespace"
_LANGUAGE = f"{_XML} lang"

MAX_PACKET = 64 * 1024**2
"""The most bytes of a packet that are read: one with a depth map takes some megabytes."""

_MAX_ELEMENTS = 200_000
_MAX_DEPTH = 100
_ATTRIBUTE = re.compile(rb"""\s+([^\s=>/"']+)\s*=\s*("[^"]*"|'[^']*')""")
_START_TAG = re.compile(rb"""<([^\s/>]+)(?:\s+[^\s=>/"']+\s*=\s*(?:"[^"]*"|'[^']*'))*+\s*(/?)>""")
_INSTRUCTION = re.compile(rb"<\?.*?\?>", re.DOTALL)
# What an rdf:Description says of itself, not of the photo.
_OF_THE_NODE = {"about", *(f"{RDF} {name}" for name in "about ID nodeID datatype parseType".split()), _LANGUAGE}
# What XML 1.0 can't hold.
_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(eq=False)
class Element:
    """An element: its bytes are ``start`` to ``end``, those between its tags ``inner`` to ``inner_end``."""

    name: str
    attributes: Mapping[str, str]
    parent: Element | None
    namespaces: Mapping[str, str]  # declared here
    start: int
    inner: int
    is_empty_tag: bool
    inner_end: int = 0
    end: int = 0
    children: list[Element] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.texts).strip()

    def walk(self) -> Iterator[Element]:
        """Yield the element and all those inside, in order."""
        waiting = [self]
        while waiting:
            element = waiting.pop()
            yield element
            waiting += reversed(element.children)

    def scope(self) -> dict[str, str]:
        """Return the namespaces that hold here, by prefix."""
        outer = self.parent.scope() if self.parent is not None else {}
        return {**outer, **self.namespaces}


@dataclass(frozen=True)
class Property:
    """A property of the photo, where it stands: an attribute of an rdf:Description, or an element inside one."""

    description: Element
    name: str
    element: Element | None  # None: an attribute

    @property
    def values(self) -> list[str]:
        """All that it says, in whatever form; empty where it says nothing."""
        if self.element is None:
            found = [self.description.attributes[self.name]]
        else:
            found = [value for element in self.element.walk() for value in _said(element)]
        return [value for value in map(str.strip, found) if value]

    @property
    def default_item(self) -> Element | None:
        """The item of a text in several languages that is for all others, ``x-default``."""
        for element in self.element.walk() if self.element is not None else ():
            if element.name == f"{RDF} li" and element.attributes.get(_LANGUAGE, "").lower() == "x-default":
                return element
        return None

    @property
    def text(self) -> str | None:
        """What it says where no language is asked for."""
        if self.element is None:
            return self.description.attributes[self.name].strip()
        item = self.default_item or (None if self.element.children else self.element)
        return None if item is None else item.text


def _said(element: Element) -> Iterator[str]:
    yield element.text
    yield from (value for name, value in element.attributes.items() if name not in _OF_THE_NODE)


class Packet:
    """A parsed packet. Raises PhotoError for one that is not well-formed, has a DTD, or is no XMP."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        root = _Parser(raw).root
        rdf = next((element for element in root.walk() if element.name == f"{RDF} RDF"), None)
        if rdf is None:
            raise PhotoError("holds XMP without rdf:RDF, which can't be added to; remove that XMP")
        self.rdf = rdf
        self.descriptions = [child for child in rdf.children if child.name == f"{RDF} Description"]

    def properties(self) -> Iterator[Property]:
        for description in self.descriptions:
            for name in description.attributes:
                if name not in _OF_THE_NODE:
                    yield Property(description, name, None)
            for child in description.children:
                yield Property(description, child.name, child)

    def properties_of(self, name: str) -> list[Property]:
        return [entry for entry in self.properties() if entry.name == name]

    def about(self) -> bytes:
        """Return what the packet is about, with its quotes: it must be the same in all of it."""
        for description in self.descriptions:
            for name in ("about", f"{RDF} about"):
                if name in description.attributes:
                    return quoteattr(description.attributes[name]).encode()
        return b'""'

    def adding(self, blocks: bytes) -> Splice:
        """Return the edit that puts elements behind all others of rdf:RDF."""
        return filling(self.raw, self.rdf, blocks, at_end=True)

    def removing(self, properties: Iterable[Property]) -> list[Splice]:
        """Return the edits that take properties away, and the Descriptions that hold nothing else."""
        by_description: dict[Element, list[Property]] = {}
        for entry in properties:
            by_description.setdefault(entry.description, []).append(entry)
        edits = []
        for description, entries in by_description.items():
            spans = [self._span(entry) for entry in entries]
            left = {name for name in description.attributes if name not in _OF_THE_NODE}
            left -= {entry.name for entry in entries if entry.element is None}
            inner = bytearray(self.raw[description.inner : description.inner_end])
            for start, end in (span for span in spans if span[0] >= description.inner):
                inner[start - description.inner : end - description.inner] = b" " * (end - start)
            if not left and not inner.strip():
                spans = [(self._with_space_before(description.start), description.end)]
            edits += [Splice(start, end, b"") for start, end in spans]
        return edits

    def _span(self, entry: Property) -> tuple[int, int]:
        if entry.element is not None:
            return self._with_space_before(entry.element.start), entry.element.end
        scope = entry.description.scope()
        tag = self.raw[entry.description.start : entry.description.inner]
        for match in _ATTRIBUTE.finditer(tag):
            prefix, colon, local = match[1].decode().rpartition(":")
            if colon and f"{scope.get(prefix)} {local}" == entry.name:
                return entry.description.start + match.start(), entry.description.start + match.end()
        raise AssertionError(f"no attribute {entry.name}")

    def _with_space_before(self, start: int) -> int:
        while self.raw[start - 1 : start].isspace():
            start -= 1
        return start


def filling(raw: bytes, element: Element, content: bytes, *, at_end: bool = False) -> Splice:
    """Return the edit that gives an element other content, or with ``at_end`` adds to what it has."""
    if not element.is_empty_tag:
        return Splice(element.inner_end if at_end else element.inner, element.inner_end, content)
    tag = _START_TAG.match(raw, element.start)
    assert tag is not None
    # `<a b="c"/>` becomes `<a b="c">content</a>`.
    return Splice(tag.start(2), element.end, b">" + content + b"</" + tag[1] + b">")


def tag_name(raw: bytes, element: Element) -> bytes:
    """Return an element's name as it is written, with its prefix."""
    tag = _START_TAG.match(raw, element.start)
    assert tag is not None
    return tag[1]


def is_blank(raw: bytes) -> bool:
    """Return whether a packet is only a wrapper, or nothing at all."""
    return not _INSTRUCTION.sub(b"", raw.removeprefix(codecs.BOM_UTF8)).strip(b"\0 \t\r\n")


def as_xml(text: str) -> bytes:
    """Return a text as the content of an element; what XML can't hold becomes U+FFFD."""
    return escape(clean(text)).encode()


def clean(text: str) -> str:
    """Return a text on one line, without what XML can't hold."""
    return _NOT_XML.sub("\ufffd", " ".join(text.split()))


class _Parser:
    """Builds the tree of elements; ``root`` is the outermost."""

    def __init__(self, raw: bytes) -> None:
        if len(raw) > MAX_PACKET:
            raise PhotoError(f"holds XMP of {len(raw):,} bytes, and at most {MAX_PACKET:,} are read; make it smaller")
        if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise PhotoError("holds XMP in UTF-16, and only UTF-8 is read; save that XMP as UTF-8")
        self._raw = raw
        self._first = len(codecs.BOM_UTF8) if raw.startswith(codecs.BOM_UTF8) else 0
        self._open: list[Element] = []
        self._declared: dict[str, str] = {}
        self._count = 0
        self.root: Element
        # The encoding is given, since a packet in a photo is UTF-8 whatever it says.
        parser = expat.ParserCreate("utf-8", " ")
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._doctype
        parser.StartNamespaceDeclHandler = self._namespace
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        self._parser = parser
        try:
            # Some programs end a packet with a NUL, as if it were a C string.
            parser.Parse(raw[self._first :].rstrip(b"\0"), True)
        except expat.ExpatError as error:
            raise PhotoError(f"holds XMP that is not well-formed XML ({error}); repair or remove that XMP") from None

    def _doctype(self, *_: object) -> None:
        # Entities could make gigabytes of a few bytes, or name other files.
        raise PhotoError("holds XMP with a DTD, which no photo needs and which is not read; remove that XMP")

    def _namespace(self, prefix: str | None, uri: str | None) -> None:
        self._declared[prefix or ""] = uri or ""

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if self._count > _MAX_ELEMENTS or len(self._open) >= _MAX_DEPTH:
            raise PhotoError(
                f"holds XMP of more than {_MAX_ELEMENTS:,} elements or {_MAX_DEPTH} levels, which is not read; "
                "remove that XMP"
            )
        start = self._first + self._parser.CurrentByteIndex
        tag = _START_TAG.match(self._raw, start)
        if tag is None:
            raise PhotoError("holds XMP with a tag that can't be read; repair or remove that XMP")
        parent = self._open[-1] if self._open else None
        element = Element(name, attributes, parent, self._declared, start, tag.end(), tag[2] == b"/")
        self._declared = {}
        if parent is None:
            self.root = element
        else:
            parent.children.append(element)
        self._open.append(element)

    def _end(self, _: str) -> None:
        element = self._open.pop()
        if element.is_empty_tag:
            element.inner_end = element.end = element.inner
        else:
            element.inner_end = self._first + self._parser.CurrentByteIndex
            element.end = self._raw.index(b">", element.inner_end) + 1

    def _text(self, text: str) -> None:
        self._open[-1].texts.append(text)
