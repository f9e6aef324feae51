"""What is wrong with captions."""

from __future__ import annotations

from pathlib import Path

import pytest

from wordgaze.data.check.captions import as_meant, check_captions, why_misread, why_no_text
from wordgaze.data.check.findings import Finding
from wordgaze.data.check.language import language_of, script_of
from wordgaze.data.readers.caption_file import CaptionedPhoto


def found(*photos: tuple[str, ...]) -> list[Finding]:
    return list(check_captions([CaptionedPhoto(n, Path(f"{n}.jpg"), texts) for n, texts in enumerate(photos)]))


@pytest.mark.parametrize(
    ("caption", "why"),
    [
        ("null", "a placeholder"),
        ("N/A", "a placeholder"),
        ("No caption.", "a placeholder"),
        ("???", "a placeholder"),
        ("https://example.org/a.jpg", "an address"),
        ("IMG_0001.JPG", "a file's name"),
        ("12345 .", "without a letter"),
        ("😀😀", "without a letter"),
        ("<b>a dog</b>", "HTML"),
        ("a dog &amp; a cat", ""),
        ("a dog", ""),
        ("a dog < a cat > a mouse", ""),
        ("a caption on a wall", ""),
        ("Q&A; a sign", ""),
        ("犬", ""),
    ],
)
def test_what_is_no_text(caption: str, why: str) -> None:
    assert why_no_text(caption) == why


@pytest.mark.parametrize(
    ("caption", "meant"),
    [
        ("a cafÃ©", "a café"),
        ("â€œquotedâ€\x9d", "“quoted”"),
        ("ç‹—", "狗"),
        ("a dog &amp; a cat", "a dog & a cat"),
        ("a dog&#39;s ball", "a dog's ball"),
        ("Q&A; a sign", None),
        ("a café", None),
        ("naïve Ñandú", None),
        ("собака", None),
        ("犬", None),
        ("a dog", None),
    ],
)
def test_what_was_misread_is_known_as_it_was_meant(caption: str, meant: str | None) -> None:
    assert as_meant(caption) == meant
    assert bool(why_misread(caption)) == (meant is not None)


@pytest.mark.parametrize("sign", ["\ufffd", "\x00", "\x92", "\udc92", "\ue000"])
def test_signs_that_are_no_text(sign: str) -> None:
    assert why_misread(f"a dog{sign}s ball")


def test_of_one_photo_captions_that_differ_only_in_case_and_stop_repeat() -> None:
    [finding] = found(("A dog.", "a  DOG", "two dogs"))
    assert (finding.kind, finding.photo, finding.caption) == ("duplicate-caption", 0, 1)
    assert finding.message == 'caption 2 repeats caption 1: "a DOG"'


def test_long_captions_by_words_and_by_letters() -> None:
    kinds = [finding.kind for finding in found(("dog " * 51,), ("cat " * 50,), ("犬" * 301,), ("猫" * 300,))]
    assert kinds == ["long-caption", "long-caption"]


def test_a_caption_of_five_photos_is_one_finding_that_names_them_all() -> None:
    [finding] = found(*[("A dog.", f"a dog of number {n}") for n in range(5)], ("a cat",))
    assert finding.kind == "common-caption" and finding.photos == ("0.jpg", "1.jpg", "2.jpg", "3.jpg", "4.jpg")
    assert found(*[("A dog.",)] * 4) == []


def test_of_many_photos_a_caption_is_common_from_one_in_a_thousand_on() -> None:
    others = [(f"a dog of number {n}",) for n in range(9_990)]
    assert found(*others, *[("a dog",)] * 9) == []
    assert [finding.kind for finding in found(*others, *[("a dog",)] * 10)] == ["common-caption"]


ENGLISH = [("the dog of the man is on the grass",)] * 4 + [(f"the cat number {n} is with her ball",) for n in range(40)]


def test_strays_in_script_and_language() -> None:
    strays = [("ein Hund sitzt auf der Wiese und ist nass",), ("собака сидит на траве",), ("dog",), ("a Volvo",)]
    findings = found(*ENGLISH, *strays)
    assert [(finding.kind, finding.photo) for finding in findings] == [("other-language", 45), ("other-language", 44)]
    assert "is in Cyrillic, most others are in Latin" in findings[0].message
    assert "is in German, most others are in English" in findings[1].message


def test_a_set_in_two_languages_has_no_strays() -> None:
    german = [(f"der Hund {n} sitzt auf der Wiese und ist nass",) for n in range(20)]
    assert found(*ENGLISH, *german) == []


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Two dogs are running with a stick.", "English"),
        ("Deux chiens sont dans le jardin avec une balle", "French"),
        ("un perro está en el parque con los niños", "Spanish"),
        ("um cachorro está com uma bola", "Portuguese"),
        ("een hond zit op het gras", "Dutch"),
        ("bir adam ve bir kadın", "Turkish"),
        ("pies siedzi na trawie i jest w parku", "Polish"),
        ("hear no evil , see no evil , do no evil", None),
        ("i see what i see", None),
        ("a dog", None),
        ("", None),
    ],
)
def test_languages_by_their_small_words(text: str, language: str | None) -> None:
    assert language_of(text) == language


@pytest.mark.parametrize(
    ("text", "script"),
    [("a dog", "Latin"), ("犬がいます", "Han"), ("собака", "Cyrillic"), ("كلب", "Arabic"), ("12 😀", None)],
)
def test_scripts(text: str, script: str | None) -> None:
    assert script_of(text) == script
