"""Alt text in JPEGs: where the packet goes, what stays to the byte, and packets that outgrow a segment."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest
from PIL import Image
from tests.captioning.xmp_photos import (
    EXTENDED,
    STANDARD,
    exiftool,
    image_bytes,
    is_ours,
    jpeg_parts,
    language_alternative,
    needs_exiftool,
    packets,
    rdf,
    segment,
    tags,
    with_segments,
    without_xmp,
)

from wordgaze.captioning.xmp.extended import MAX_STANDARD
from wordgaze.captioning.xmp.merge import AltText
from wordgaze.captioning.xmp.write import write_alt_text
from wordgaze.errors import PhotoError

ALT = AltText("a dog", "bundled", "0123abcd", 0.5678)
OTHER = AltText("two birds", "another", "ffff")


def written(path: Path, data: bytes, alt: AltText = ALT) -> bytes:
    """Return what a photo of these bytes is with an alt text; all but its XMP is the same."""
    path.write_bytes(data)
    assert write_alt_text(path, alt, existing="overwrite").status == "written"
    after = path.read_bytes()
    assert without_xmp(after) == without_xmp(data)
    return after


def refused(path: Path, data: bytes, words: str) -> None:
    path.write_bytes(data)
    with pytest.raises(PhotoError, match=words):
        write_alt_text(path, ALT)
    assert path.read_bytes() == data and [file.name for file in path.parent.iterdir()] == [path.name]


def with_exif() -> bytes:
    """Return a JPEG as cameras write it: Exif with maker notes, a profile, a comment, bytes behind the picture."""
    exif = Image.Exif()
    exif[0x010F] = "A maker"
    exif.get_ifd(0x8769)[0x927C] = b"Maker\0\x01\x02" + bytes(range(256)) * 4
    return image_bytes("JPEG", exif=exif, icc_profile=bytes(range(200)) * 700, comment=b"hello") + b"behind the picture"


def multi_picture(xmp: bytes | None = None, *, behind: bool = False) -> tuple[bytes, bytes]:
    """Return a file of two pictures, and the second alone; ``xmp`` before the index or behind it."""
    second = Image.radial_gradient("L").resize((33, 21)).convert("RGB")
    file = io.BytesIO()
    Image.open(io.BytesIO(image_bytes("JPEG"))).save(file, "MPO", save_all=True, append_images=[second])
    data = file.getvalue()
    alone = data[data.index(b"\xff\xd9\xff\xd8") + 2 :]
    if xmp is not None:
        parts = jpeg_parts(data)
        index = next(number for number, part in enumerate(parts) if part[4:].startswith(b"MPF\0"))
        parts.insert(index + behind, segment(STANDARD + xmp))
        data = b"".join([data[:2], *parts])
    return data, alone


def test_the_packet_goes_behind_jfif_and_exif(tmp_path: Path) -> None:
    after = written(tmp_path / "a.jpg", with_exif())
    starts = [part[4:8] for part in jpeg_parts(after)]
    assert starts[starts.index(b"Exif") + 1] == b"http" and starts.index(b"http") < starts.index(b"ICC_")
    assert Image.open(io.BytesIO(after)).tobytes() == Image.open(io.BytesIO(with_exif())).tobytes()


def test_a_packet_is_replaced_where_it_stands(tmp_path: Path) -> None:
    data = jpeg_parts(with_exif())
    data.insert(-1, segment(STANDARD + rdf("<photoshop:City>x</photoshop:City>")))
    after = written(tmp_path / "a.jpg", b"\xff\xd8" + b"".join(data))
    assert jpeg_parts(after)[-2].startswith(b"\xff\xe1") and b"<photoshop:City>x</photoshop:City>" in packets(after)[0]


def test_markers_may_be_filled_up(tmp_path: Path) -> None:
    data = with_exif().replace(b"\xff\xdb", b"\xff\xff\xff\xdb", 1)
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    write_alt_text(path, ALT)
    after = path.read_bytes()
    start = after.index(b"http://ns.adobe.com") - 4
    end = start + 2 + int.from_bytes(after[start + 2 : start + 4], "big")
    assert after[:start] + after[end:] == data


@pytest.mark.parametrize("xmp", [None, rdf("")])
def test_further_pictures_are_still_found(xmp: bytes | None, tmp_path: Path) -> None:
    data, second = multi_picture(xmp)
    after = written(tmp_path / "a.jpg", data)
    assert after.endswith(second)
    photo, before = Image.open(io.BytesIO(after)), Image.open(io.BytesIO(data))
    assert photo.format == "MPO" and photo.n_frames == 2
    for frame in (0, 1):
        photo.seek(frame)
        before.seek(frame)
        assert photo.tobytes() == before.tobytes()


def test_xmp_behind_the_index_of_pictures_is_refused(tmp_path: Path) -> None:
    refused(tmp_path / "a.jpg", multi_picture(rdf(""), behind=True)[0], "behind the index")


GAIN_MAP = (
    '<Container:Directory xmlns:Container="http://ns.google.com/photos/1.0/container/"'
    ' xmlns:Item="http://ns.google.com/photos/1.0/container/item/"><rdf:Seq>'
    '<rdf:li rdf:parseType="Resource"><Container:Item Item:Semantic="Primary" Item:Mime="image/jpeg"/></rdf:li>'
    '<rdf:li rdf:parseType="Resource"><Container:Item Item:Semantic="GainMap" Item:Mime="image/jpeg"'
    ' Item:Length="{}"/></rdf:li></rdf:Seq></Container:Directory>'
)


@needs_exiftool
def test_exiftool_finds_a_gain_map(tmp_path: Path) -> None:
    _, second = multi_picture()
    xmp = rdf(GAIN_MAP.format(len(second)), 'xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" hdrgm:Version="1.0"')
    path = tmp_path / "a.jpg"
    after = written(path, multi_picture(xmp)[0])
    exiftool("-b", "-MPImage2", "-w", f"{tmp_path}/%f.map", path)
    assert (tmp_path / "a.map").read_bytes() == second == after[-len(second) :]
    found = tags(path)
    assert found["XMP-hdrgm:Version"] == 1
    assert [entry["Item"]["Semantic"] for entry in found["XMP-Container:Directory"]] == ["Primary", "GainMap"]


DAMAGED = {
    "ends in its segments": (with_exif()[:3000], "cut short|damaged segments"),
    "no marker": (b"\xff\xd8\xff\xe0\x00\x04ab\x00\x00\x00\x00", "damaged segments"),
    "a length of one": (b"\xff\xd8\xff\xe0\x00\x01ab", "damaged segments"),
    "ends in a marker": (b"\xff\xd8\xff", "cut short"),
    "two packets": (with_segments(with_exif(), STANDARD + rdf(""), STANDARD + rdf("")), "several XMP packets"),
    "a DTD": (with_segments(with_exif(), STANDARD + b"<!DOCTYPE a>" + rdf("")), "DTD"),
}


@pytest.mark.parametrize(("data", "words"), DAMAGED.values(), ids=DAMAGED)
def test_photos_that_are_refused_stay_as_they_were(data: bytes, words: str, tmp_path: Path) -> None:
    refused(tmp_path / "a.jpg", data, words)


def extended(content: bytes, part: int = 60_000) -> tuple[str, list[bytes]]:
    """Return the name of an extended packet, and its segments' payloads, last one first."""
    guid = hashlib.md5(content).hexdigest().upper()
    head = EXTENDED + guid.encode() + len(content).to_bytes(4, "big")
    starts = range(0, len(content), part)
    return guid, [head + start.to_bytes(4, "big") + content[start : start + part] for start in starts][::-1]


def whole_extended(data: bytes) -> bytes:
    """Return a JPEG's extended packet, after checking its name, and that the standard one has it."""
    standard, *parts = packets(data)
    found = {part[len(EXTENDED) :][:32] for part in parts}
    in_order = sorted(parts, key=lambda part: part[len(EXTENDED) + 36 :][:4])
    content = b"".join(part[len(EXTENDED) + 40 :] for part in in_order)
    assert found == {hashlib.md5(content).hexdigest().upper().encode()}
    assert all(int.from_bytes(part[len(EXTENDED) + 32 :][:4], "big") == len(content) for part in parts)
    assert standard.count(b"HasExtendedXMP") == 1 and found.pop() in standard
    return content


def test_an_extended_packet_stays_to_the_byte(tmp_path: Path) -> None:
    guid, parts = extended(rdf(f"<photoshop:Instructions>{'x' * 200_000}</photoshop:Instructions>"))
    data = with_segments(with_exif(), STANDARD + rdf("", f'xmpNote:HasExtendedXMP="{guid}"'), *parts)
    after = written(tmp_path / "a.jpg", data)
    assert packets(after)[1:] == parts and len(parts) == 4


def test_padding_makes_room(tmp_path: Path) -> None:
    padded = rdf("<photoshop:City>x</photoshop:City>").replace(b"<?xpacket end", b" " * 64_000 + b"<?xpacket end")
    after = written(tmp_path / "a.jpg", with_segments(with_exif(), STANDARD + padded + b" " * 500))
    assert len(packets(after)) == 1 and b"<photoshop:City>x</photoshop:City>" in packets(after)[0]


@needs_exiftool
@pytest.mark.parametrize("has_extended", [False, True])
def test_the_largest_property_moves_where_a_packet_outgrows_its_segment(has_extended: bool, tmp_path: Path) -> None:
    content = (
        f'<photoshop:Instructions xmlns:x="urn:x">{"x" * 35_000}&amp;</photoshop:Instructions>'
        f"<photoshop:History>{'y' * 28_000}</photoshop:History><photoshop:City>a city</photoshop:City>"
        + language_alternative("dc:description", "by a person", de="von jemandem")
    )
    guid, parts = extended(rdf(f"<photoshop:Credit>{'z' * 100_000}</photoshop:Credit>")) if has_extended else ("", [])
    xmp = rdf(content, f'xmpNote:HasExtendedXMP="{guid}"' if has_extended else "")
    xmp += b" " * (MAX_STANDARD - 10 - len(xmp))
    path = tmp_path / "a.jpg"
    path.write_bytes(with_segments(with_exif(), STANDARD + xmp, *parts))
    before = tags(path)
    after = written(path, path.read_bytes())
    assert len(packets(after)[0]) <= len(STANDARD) + MAX_STANDARD
    moved = whole_extended(after)
    assert b"y" * 28_000 in packets(after)[0] and b"x" * 35_000 in moved and (b"z" * 100_000 in moved) == has_extended
    found = tags(path)
    assert found["XMP-iptcCore:AltTextAccessibility"] == "a dog"
    kept = {name: value for name, value in found.items() if not (is_ours(name) and name != "XMP-dc:Description")}
    for known in (before, kept):
        known.pop("XMP-xmpNote:HasExtendedXMP", None)
        known.pop("XMP-iptcCore:AltTextAccessibility", None)
    assert kept == before
    # And once more, from both packets.
    write_alt_text(path, OTHER, existing="overwrite")
    whole_extended(path.read_bytes())
    assert tags(path)["XMP-iptcCore:AltTextAccessibility"] == "two birds"


def test_a_packet_of_one_large_attribute_is_refused(tmp_path: Path) -> None:
    xmp = rdf("", f'photoshop:Instructions="{"x" * 64_500}"')
    refused(tmp_path / "a.jpg", with_segments(with_exif(), STANDARD + xmp), "can't be divided")


def test_text_of_ours_in_the_extended_packet_is_known(tmp_path: Path) -> None:
    # As another program may have divided it.
    ours = language_alternative("Iptc4xmpCore:AltTextAccessibility", "a dog", de="ein Hund")
    guid, parts = extended(rdf(f"{ours}<wordgaze:AltText>a dog</wordgaze:AltText><photoshop:City>x</photoshop:City>"))
    data = with_segments(with_exif(), STANDARD + rdf("", f'xmpNote:HasExtendedXMP="{guid}"'), *parts)
    moved = whole_extended(written(tmp_path / "a.jpg", data, OTHER))
    assert all(text in moved for text in (b">two birds<", b">ein Hund<", b"City>x<"))
    assert b"wordgaze:AltText" not in moved


@pytest.mark.parametrize("fault", ["missing", "doubled", "short"])
def test_an_extended_packet_in_pieces_that_dont_fit_is_refused(fault: str, tmp_path: Path) -> None:
    guid, parts = extended(rdf("<photoshop:City>x</photoshop:City>" * 4000))
    faulty = {
        "missing": parts[1:],
        "doubled": [parts[0], *parts],
        "short": [parts[0][: len(EXTENDED) + 36], *parts[1:]],
    }
    data = with_segments(with_exif(), STANDARD + rdf("", f'xmpNote:HasExtendedXMP="{guid}"'), *faulty[fault])
    refused(tmp_path / "a.jpg", data, "extended XMP")


def test_parts_of_another_packet_are_left_alone(tmp_path: Path) -> None:
    _, parts = extended(b"what no packet names")
    after = written(tmp_path / "a.jpg", with_segments(with_exif(), STANDARD + rdf(""), *parts))
    assert packets(after)[1:] == parts
