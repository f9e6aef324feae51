"""Alt text into a photo's XMP: a person's text stays, ours is known by what we noted beside it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal, NamedTuple

from wordgaze.captioning.xmp.packet import RDF, Packet, Property, as_xml, clean, filling, is_blank
from wordgaze.captioning.xmp.splice import Splice, spliced
from wordgaze.errors import ConfigError

Existing = Literal["skip", "overwrite"]

IPTC = "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/"
DC = "http://purl.org/dc/elements/1.1/"
WORDGAZE = "urn:x-wordgaze:xmp:1.0#"

ALT_TEXT = f"{IPTC} AltTextAccessibility"
DESCRIPTION = f"{DC} description"
# Of both, the text that we wrote: one that a person has changed since is no longer ours.
_NOTED = {ALT_TEXT: f"{WORDGAZE} AltText", DESCRIPTION: f"{WORDGAZE} Description"}
_PREFIXED = {ALT_TEXT: b"Iptc4xmpCore:AltTextAccessibility", DESCRIPTION: b"dc:description"}

_HEAD = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="wordgaze">\n'
    b' <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
)
_TAIL = b'\n </rdf:RDF>\n</x:xmpmeta>\n<?xpacket end="w"?>\n'
EMPTY_PACKET = _HEAD + _TAIL

SEVERAL = "holds several XMP packets, of which programs read one or another; remove all but one"
"""Why a file is refused that has more than one standard packet."""


@dataclass(frozen=True)
class AltText:
    """A caption for a photo's metadata, with where it is from.

    ``model``: its name as everyone who gets the photo may read it. ``confidence``: None where the model has none.
    Raises ConfigError for an empty text.
    """

    text: str
    model: str
    fingerprint: str
    confidence: float | None = None

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise ConfigError("The alt text is empty; a photo without a caption gets none.")

    def provenance(self) -> dict[str, str]:
        """Return what is noted of the model, by expanded name."""
        values = {"Model": self.model, "ModelFingerprint": self.fingerprint}
        if self.confidence is not None:
            values["Confidence"] = f"{self.confidence:.4f}"
        return {f"{WORDGAZE} {name}": clean(value) for name, value in values.items()}


class Xmp(NamedTuple):
    """A photo's packets: the one that every program reads, and JPEG's second one for what did not fit into it."""

    standard: bytes | None = None
    extended: bytes | None = None

    def packets(self) -> list[Packet]:
        return [Packet(raw) for raw in self if raw is not None and not is_blank(raw)]


class Owner(Enum):
    NOBODY = "nobody"
    US = "us"
    PERSON = "person"


def owner(packets: Iterable[Packet], name: str) -> Owner:
    """Return who wrote a property; text in another language than x-default does not make ours a person's."""
    entries = [entry for packet in packets for entry in packet.properties()]
    texts = {entry.text for entry in entries if entry.name == name and entry.values}
    if not texts:
        return Owner.NOBODY
    noted = {entry.text for entry in entries if entry.name == _NOTED[name]}
    return Owner.US if len(texts) == 1 and texts == noted else Owner.PERSON


class Merged(NamedTuple):
    """``xmp`` is None where nothing is to be written: ``owner`` says whose text is there."""

    xmp: Xmp | None
    owner: Owner


def merge(xmp: Xmp, alt: AltText, existing: Existing, elsewhere: Sequence[Packet] = ()) -> Merged:
    """Return a photo's XMP with the alt text, or whose text keeps it out.

    ``elsewhere``: what is said of the photo in its other place (inside it, or in its sidecar); a person's text there
    stays in force.
    """
    packets = xmp.packets()
    whose = owner(packets, ALT_TEXT)
    if Owner.PERSON in (whose, owner(elsewhere, ALT_TEXT)):
        return Merged(None, Owner.PERSON)
    if whose is Owner.US and (existing == "skip" or _says_the_same(packets, alt)):
        return Merged(None, Owner.US)
    names = [ALT_TEXT]
    if Owner.PERSON not in (owner(packets, DESCRIPTION), owner(elsewhere, DESCRIPTION)):
        names.append(DESCRIPTION)
    merged = Xmp(*_with_text(xmp, packets, alt, names))
    assert owner(merged.packets(), ALT_TEXT) is Owner.US
    return Merged(merged, Owner.US)


def _says_the_same(packets: Iterable[Packet], alt: AltText) -> bool:
    entries = [entry for packet in packets for entry in packet.properties() if entry.name.startswith(WORDGAZE)]
    noted = {entry.name: entry.text for entry in entries if entry.name not in _NOTED.values()}
    texts = [entry.text for entry in entries if entry.name == _NOTED[ALT_TEXT]]
    return noted == alt.provenance() and texts == [clean(alt.text)]


def _with_text(xmp: Xmp, packets: Sequence[Packet], alt: AltText, names: Sequence[str]) -> Iterator[bytes]:
    """Yield the standard packet, then the extended one if there is one, with our text as these properties."""
    if xmp.standard is None or is_blank(xmp.standard):
        # There is nothing to add to.
        packets = [Packet(EMPTY_PACKET), *packets]
    edits: dict[Packet, list[Splice]] = {packet: [] for packet in packets}
    removed = {packet: _notes(packet) for packet in packets}
    added = []
    for name in names:
        entries = [(packet, entry) for packet in packets for entry in packet.properties_of(name)]
        item = entries[0][1].default_item if len(entries) == 1 and entries[0][1].values else None
        if item is not None:
            # In its place, so that other languages stay.
            packet = entries[0][0]
            edits[packet].append(filling(packet.raw, item, as_xml(alt.text)))
            continue
        for packet, entry in entries:
            removed[packet].append(entry)
        added.append(_language_alternative(_PREFIXED[name], alt.text))
    added += [_simple(_NOTED[name], alt.text) for name in names]
    added += [_simple(name, value) for name, value in alt.provenance().items()]
    edits[packets[0]].append(packets[0].adding(_description(packets[0], added)))
    for packet in packets:
        yield spliced(packet.raw, [*edits[packet], *packet.removing(removed[packet])])


def _notes(packet: Packet) -> list[Property]:
    return [entry for entry in packet.properties() if entry.name.startswith(WORDGAZE)]


def _language_alternative(tag: bytes, text: str) -> bytes:
    item = b'<rdf:li xml:lang="x-default">' + as_xml(text) + b"</rdf:li>"
    return b"<" + tag + b">\n    <rdf:Alt>\n     " + item + b"\n    </rdf:Alt>\n   </" + tag + b">"


def _simple(name: str, text: str) -> bytes:
    tag = b"wordgaze:" + name.removeprefix(f"{WORDGAZE} ").encode()
    return b"<" + tag + b">" + as_xml(text) + b"</" + tag + b">"


def _description(packet: Packet, properties: Iterable[bytes]) -> bytes:
    """Return an rdf:Description that declares all its own prefixes, since those of the packet may mean anything."""
    spaces = {"rdf": RDF, "dc": DC, "Iptc4xmpCore": IPTC, "wordgaze": WORDGAZE}
    declared = b"".join(f'\n    xmlns:{prefix}="{uri}"'.encode() for prefix, uri in spaces.items())
    content = b"".join(b"\n   " + entry for entry in properties)
    return b"\n  <rdf:Description rdf:about=" + packet.about() + declared + b">" + content + b"\n  </rdf:Description>"


def note(packet: Packet, prefix: str, uri: str, name: str, value: str) -> Splice:
    """Return the edit that adds a simple property of another namespace."""
    block = f'\n  <rdf:Description xmlns:rdf="{RDF}" rdf:about={packet.about().decode()} xmlns:{prefix}="{uri}"'
    return packet.adding(f'{block} {prefix}:{name}="{value}"/>'.encode())
