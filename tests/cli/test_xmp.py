"""``wordgaze caption --xmp``: captions in the photos' metadata, and what people are told."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image
from tests.captioning.xmp_photos import language_alternative, rdf

from wordgaze.captioner import Captioner
from wordgaze.captioning.xmp.merge import ALT_TEXT, WORDGAZE
from wordgaze.captioning.xmp.packet import Packet
from wordgaze.cli.main import main
from wordgaze.folder import save_confidence
from wordgaze.generation.confidence import FEATURES, Confidence

MINE = rdf(language_alternative("Iptc4xmpCore:AltTextAccessibility", "mine"))


def caption(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["caption", *map(str, arguments)])


def text_of(packet: bytes, name: str = ALT_TEXT) -> str | None:
    return Packet(packet).properties_of(name)[0].text


def embedded(photo: Path) -> bytes:
    with Image.open(photo) as image:
        found = image.info["xmp"]
    assert isinstance(found, bytes)
    return found


def test_captions_go_into_the_photos(model: list[str], model_folder: Path, mixed: Path) -> None:
    mine = mixed / "c.png.xmp"
    mine.write_bytes(MINE)
    tiff = mixed / "h.tif"
    Image.open(mixed / "b.png").save(tiff)
    result = caption(mixed, *model, "--xmp", "embed")
    told = result.stderr.splitlines()
    assert result.stdout == "" and result.exit_code == 1
    assert told[-1] == "wordgaze: alt text: 6 written, 1 kept (a person's), 2 failed"
    assert any("h.tif: is of a kind that takes no alt text inside" in line for line in told)
    captioner = Captioner.from_pretrained(model_folder, "cpu")
    captions = {name: str(captioner.caption(mixed / name)) for name in ("b.png", "h.tif")}
    assert text_of(embedded(mixed / "b.png")) == captions["b.png"]
    assert text_of((mixed / "h.tif.xmp").read_bytes()) == captions["h.tif"]
    assert text_of(embedded(mixed / "b.png"), f"{WORDGAZE} Model") == model_folder.name
    assert mine.read_bytes() == MINE and "xmp" not in Image.open(mixed / "c.png").info
    again = caption(mixed, *model, "--xmp", "embed")
    assert again.stderr.splitlines()[-1] == (
        "wordgaze: alt text: 6 skipped (captioned before), 1 kept (a person's), 2 failed"
    )


def test_unsure_captions_are_listed(model_folder: Path, photos: list[Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(model_folder, tmp_path / "model"))
    save_confidence(Confidence(0.0, dict.fromkeys(FEATURES, 0.0)), folder)
    model = ["--model", folder, "--device", "cpu", "--xmp", "sidecar"]
    result = caption(photos[0], *model, "--min-confidence", 0.6)
    assert result.exit_code == 0 and f"{photos[0]}: unsure (0.50), so not written: " in result.stderr
    assert result.stderr.endswith("alt text: 1 not sure enough\n") and not photos[0].with_name("b.png.xmp").exists()
    assert caption(photos[0], *model, "--min-confidence", 0.4).stderr == "wordgaze: alt text: 1 written\n"
    packet = photos[0].with_name("b.png.xmp").read_bytes()
    assert text_of(packet, f"{WORDGAZE} Confidence") == "0.5000"
    result = caption(photos[0], *model, "--existing", "overwrite", "--num-beams", 1, "--max-length", 1)
    assert result.stderr == "wordgaze: alt text: 1 written\n" and text_of(photos[0].with_name("b.png.xmp").read_bytes())


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--xmp", "embed", "--json"], "--xmp prints nothing"),
        (["--existing", "overwrite"], "is for --sidecar and --xmp"),
        (["--min-confidence", "0.5"], "is for --xmp"),
        (["--xmp", "embed", "--min-confidence", "0.5"], "leave out --min-confidence"),
        (["--xmp", "embed", "-"], "stdin"),
    ],
)
def test_flags_that_make_no_sense(model: list[str], photos: list[Path], flags: list[str], words: str) -> None:
    before = photos[0].read_bytes()
    result = caption(photos[0], *model, *flags)
    assert result.exit_code == 2 and words in result.stderr and result.stdout == ""
    assert photos[0].read_bytes() == before
