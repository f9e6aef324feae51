"""Alt text into packets: what a person wrote stays, what we wrote is known again, and no other byte moves."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from tests.captioning.xmp_photos import language_alternative, rdf

from wordgaze.captioning.xmp.merge import ALT_TEXT, DESCRIPTION, WORDGAZE, AltText, Existing, Owner, Xmp, merge
from wordgaze.captioning.xmp.packet import Packet
from wordgaze.errors import ConfigError, PhotoError

ALT = AltText("a dog & a <cat>", "bundled", "0123abcd", 0.5678)
OTHER = AltText("two birds", "another", "ffff", None)
ALT_TAG, DESCRIPTION_TAG = "Iptc4xmpCore:AltTextAccessibility", "dc:description"


def merged(raw: bytes | None, alt: AltText = ALT, existing: Existing = "skip") -> bytes:
    """Return the packet with the alt text, which must have been written."""
    xmp = merge(Xmp(raw), alt, existing).xmp
    assert xmp is not None and xmp.standard is not None
    return xmp.standard


def text_of(raw: bytes, name: str) -> list[str | None]:
    """Return the x-default texts of a property, read by the standard library's tree."""
    uri, local = name.split(" ")
    path = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
    found = ET.fromstring(raw).iterfind(f".//{{{uri}}}{local}/{path}Alt/{path}li")
    return [item.text for item in found if item.get("{http://www.w3.org/XML/1998/namespace}lang") == "x-default"]


def noted(raw: bytes) -> dict[str, str | None]:
    return {
        element.tag.rpartition("}")[2]: element.text
        for element in ET.fromstring(raw).iter()
        if element.tag.startswith(f"{{{WORDGAZE}}}")
    }


@pytest.mark.parametrize("raw", [None, b"", b"\0", b'<?xpacket begin="" id=""?>\n  <?xpacket end="w"?>'])
def test_a_photo_without_xmp_gets_a_packet(raw: bytes | None) -> None:
    packet = merged(raw)
    assert text_of(packet, ALT_TEXT) == text_of(packet, DESCRIPTION) == ["a dog & a <cat>"]
    assert noted(packet) == {
        "AltText": "a dog & a <cat>",
        "Description": "a dog & a <cat>",
        "Model": "bundled",
        "ModelFingerprint": "0123abcd",
        "Confidence": "0.5678",
    }


ODD_PACKETS = {
    "attributes": rdf("", "photoshop:City='S&#xE3;o  Paulo' photoshop:State = \"a>b/>\""),
    "comments": rdf("<!-- kept --><?kept too?><photoshop:City><![CDATA[<a&b>]]></photoshop:City>"),
    "line breaks in an attribute": rdf("", 'photoshop:Instructions="one&#10;two&#13;"'),
    "a byte order mark": b"\xef\xbb\xbf" + rdf("<photoshop:City>x</photoshop:City>"),
    "a NUL behind": rdf("<photoshop:City>x</photoshop:City>") + b"\0",
    "padding": rdf("<photoshop:City>x</photoshop:City>").replace(b"<?xpacket end", b" " * 2000 + b"<?xpacket end"),
    "an empty tag": rdf("").replace(b"></rdf:Description>", b"/>"),
    "another encoding named": b'<?xml version="1.0" encoding="UTF-16"?>' + rdf("").partition(b"?>")[2],
    "prefixes of other meaning": b'<r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:rdf="urn:a" '
    b'xmlns:dc="urn:b"><r:Description about="urn:c"><dc:description>of b</dc:description></r:Description></r:RDF>',
}


@pytest.mark.parametrize("raw", ODD_PACKETS.values(), ids=ODD_PACKETS)
def test_every_other_byte_of_a_packet_stays(raw: bytes) -> None:
    packet = merged(raw)
    start = packet.rindex(b"\n  <rdf:Description rdf:about=")
    end = packet.index(b"</rdf:Description>", start) + len(b"</rdf:Description>")
    assert packet[:start] + packet[end:] == raw
    assert Packet(packet).properties_of(ALT_TEXT)[0].text == "a dog & a <cat>"


def test_an_empty_list_of_properties_is_filled() -> None:
    packet = merged(b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" a="b" />')
    assert text_of(packet, ALT_TEXT) == ["a dog & a <cat>"] and packet.endswith(b"</rdf:RDF>")


def test_what_the_packet_is_about_is_taken_over() -> None:
    raw = rdf("").replace(b'rdf:about=""', b'rdf:about="uuid:1&amp;2"')
    assert merged(raw).count(b'rdf:about="uuid:1&amp;2"') == 2


A_PERSONS = {
    "a text": language_alternative(ALT_TAG, "mine"),
    "another language": f'<{ALT_TAG}><rdf:Alt><rdf:li xml:lang="de">meins</rdf:li></rdf:Alt></{ALT_TAG}>',
    "no alternative": f"<{ALT_TAG}>mine</{ALT_TAG}>",
    "an address": f'<{ALT_TAG} rdf:resource="https://a.example"/>',
    "twice": language_alternative(ALT_TAG, " ") + language_alternative(ALT_TAG, "mine"),
    "ours, changed": language_alternative(ALT_TAG, "ours, better") + "<wordgaze:AltText>ours</wordgaze:AltText>",
}


@pytest.mark.parametrize("existing", ["skip", "overwrite"])
@pytest.mark.parametrize("content", A_PERSONS.values(), ids=A_PERSONS)
def test_a_persons_alt_text_stays(content: str, existing: Existing) -> None:
    assert merge(Xmp(rdf(content)), ALT, existing) == (None, Owner.PERSON)


def test_a_persons_alt_text_in_an_attribute_stays() -> None:
    assert merge(Xmp(rdf("", f'{ALT_TAG}="mine"')), ALT, "overwrite") == (None, Owner.PERSON)


@pytest.mark.parametrize(
    "empty",
    [
        f"<{ALT_TAG}/>",
        language_alternative(ALT_TAG, ""),
        language_alternative(ALT_TAG, " \n "),
        f"<{ALT_TAG}> </{ALT_TAG}>",
    ],
)
def test_empty_properties_are_filled(empty: str) -> None:
    packet = merged(rdf(empty + empty.replace(ALT_TAG, DESCRIPTION_TAG) + "<photoshop:City>x</photoshop:City>"))
    assert text_of(packet, ALT_TEXT) == text_of(packet, DESCRIPTION) == ["a dog & a <cat>"]
    assert b"<photoshop:City>x</photoshop:City></rdf:Description>" in packet
    assert len(Packet(packet).properties_of(ALT_TEXT)) == len(Packet(packet).properties_of(DESCRIPTION)) == 1


def test_empty_attributes_are_filled() -> None:
    packet = merged(rdf("", f"{ALT_TAG}='' photoshop:City='x' {DESCRIPTION_TAG}=\"\""))
    assert text_of(packet, ALT_TEXT) == text_of(packet, DESCRIPTION) == ["a dog & a <cat>"]
    assert b" photoshop:City='x'>" in packet


def test_a_description_that_is_left_empty_goes() -> None:
    packet = merged(rdf(f"\n   <{ALT_TAG}/>\n  "))
    assert packet.count(b"<rdf:Description") == 1
    assert merged(rdf(f"<!-- a person's --><{ALT_TAG}/>")).count(b"<rdf:Description") == 2


@pytest.mark.parametrize(
    "content", [language_alternative(DESCRIPTION_TAG, "mine"), "<dc:description>mine</dc:description>"]
)
def test_a_persons_description_stays(content: str) -> None:
    packet = merged(rdf(content))
    assert content.encode() in packet and text_of(packet, ALT_TEXT) == ["a dog & a <cat>"]
    assert len(Packet(packet).properties_of(DESCRIPTION)) == 1 and "Description" not in noted(packet)
    again = merged(packet, OTHER, "overwrite")
    assert content.encode() in again and text_of(again, ALT_TEXT) == ["two birds"]


def test_our_text_is_skipped_or_replaced() -> None:
    first = merged(rdf("<photoshop:City>x</photoshop:City>"))
    assert merge(Xmp(first), OTHER, "skip") == (None, Owner.US)
    assert merge(Xmp(first), ALT, "overwrite") == (None, Owner.US)
    second = merged(first, OTHER, "overwrite")
    assert text_of(second, ALT_TEXT) == text_of(second, DESCRIPTION) == ["two birds"]
    assert noted(second) == {
        "AltText": "two birds", "Description": "two birds", "Model": "another", "ModelFingerprint": "ffff"
    }  # fmt: skip
    # Nothing piles up.
    third = merged(merged(second, ALT, "overwrite"), OTHER, "overwrite")
    assert len(third) == len(second)


def test_a_translation_of_our_text_stays() -> None:
    first = merged(None).replace(b"</rdf:li>", b'</rdf:li><rdf:li xml:lang="de">ein Hund</rdf:li>', 1)
    second = merged(first, OTHER, "overwrite")
    assert text_of(second, ALT_TEXT) == ["two birds"] and b'<rdf:li xml:lang="de">ein Hund</rdf:li>' in second


def test_a_description_that_a_person_changed_is_no_longer_ours() -> None:
    first = merged(None)
    changed = first.replace(b"dc:description>\n    <rdf:Alt>\n     <rdf:li xml:lang=\"x-default\">a dog", 
                            b"dc:description>\n    <rdf:Alt>\n     <rdf:li xml:lang=\"x-default\">my dog")  # fmt: skip
    assert changed != first
    second = merged(changed, OTHER, "overwrite")
    assert text_of(second, ALT_TEXT) == ["two birds"]
    assert text_of(second, DESCRIPTION) == ["my dog & a <cat>"]


def test_the_same_words_by_chance_are_a_persons() -> None:
    first = merged(rdf(language_alternative(DESCRIPTION_TAG, "a dog &amp; a &lt;cat>")))
    assert text_of(merged(first, OTHER, "overwrite"), DESCRIPTION) == ["a dog & a <cat>"]


def test_text_in_the_other_place_counts() -> None:
    mine = [Packet(rdf(language_alternative(ALT_TAG, "mine")))]
    assert merge(Xmp(), ALT, "overwrite", mine) == (None, Owner.PERSON)
    described = [Packet(rdf(language_alternative(DESCRIPTION_TAG, "mine")))]
    xmp = merge(Xmp(), ALT, "skip", described).xmp
    assert xmp is not None and xmp.standard is not None
    assert not Packet(xmp.standard).properties_of(DESCRIPTION)
    # Ours in a sidecar is no reason to leave the photo without.
    assert merge(Xmp(), ALT, "skip", [Packet(merged(None))]).xmp is not None


LAUGHS = b'<!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "&b;&b;">]>' + rdf("<photoshop:City>&c;</photoshop:City>")


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (LAUGHS, "DTD"),
        (b'<!DOCTYPE a SYSTEM "file:///etc/passwd">' + rdf(""), "DTD"),
        (rdf("<photoshop:City>"), "not well-formed"),
        (rdf("&other;"), "not well-formed"),
        (rdf("").decode().encode("utf-16"), "UTF-16"),
        (b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>", "without rdf:RDF"),
        (rdf("<a>" * 200 + "</a>" * 200), "100 levels"),
    ],
)
def test_packets_that_are_refused(raw: bytes, words: str) -> None:
    with pytest.raises(PhotoError, match=words):
        merge(Xmp(raw), ALT, "overwrite")


def test_a_packet_of_too_many_elements_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wordgaze.captioning.xmp.packet._MAX_ELEMENTS", 200)
    assert merge(Xmp(rdf("<a/>" * 150)), ALT, "skip").xmp is not None
    with pytest.raises(PhotoError, match="200 elements"):
        merge(Xmp(rdf("<a/>" * 200)), ALT, "skip")


def test_what_xml_cant_hold_is_replaced() -> None:
    alt = AltText("a\0dog\n  \x1b\ud800", "a\udcffb", "f")
    packet = merged(None, alt)
    assert text_of(packet, ALT_TEXT) == ["a\ufffddog \ufffd\ufffd"] and noted(packet)["Model"] == "a\ufffdb"
    assert merge(Xmp(packet), alt, "overwrite") == (None, Owner.US)


def test_an_empty_text_is_refused() -> None:
    with pytest.raises(ConfigError, match="empty"):
        AltText(" ", "bundled", "f")
