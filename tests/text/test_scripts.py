"""Characters as readers count them, and where a word may begin without a space."""

from __future__ import annotations

import pytest

from wordgaze.text.scripts import clusters, may_start_word, script, writes_no_spaces


@pytest.mark.parametrize(
    "expected",
    [
        ["a", "b"],
        ["e\u0301", "a\u0308\u0323"],
        ["👩\u200d👩\u200d👧", "👍🏽", "x"],
        ["🇩🇪", "🇫🇷", "🇯"],
        ["นั่", "ง", "นำ้"],
        ["ឆ្កែ", "នៅ"],
        ["か\u3099", "ｶﾞ"],
        ["\u1112\u1161\u11ab", "글"],
        [],
    ],
)
def test_clusters(expected: list[str]) -> None:
    assert clusters("".join(expected)) == expected


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        *(("狗", "猫", True), ("a", "狗", True), ("狗", "a", True), ("狗", "2", True), ("狗", "🐱", True)),
        *(("a", "b", False), ("é", "и", False), ("한", "국", False), ("ك", "ل", False), ("", "狗", False)),
        *(("ソ", "ファ", False), ("ソファ", "の", True), ("ラ", "ー", False)),
        *(
            ("狗", "，", False),
            ("，", "猫", True),
            ("（", "狗", False),
            ("狗", "（", True),
            ("狗", ".", False),
        ),
        *(("ก", "็", False), ("เ", "ก", False), ("ก", "เ", True), ("狗", "", False)),
    ],
)
def test_where_a_word_may_begin(before: str, after: str, expected: bool) -> None:
    assert may_start_word(before + after, len(before)) is expected


def test_scripts_by_name() -> None:
    names = {
        "狗": "Han",
        "ก": "Thai",
        "ك": "Arabic",
        "а": "Cyrillic",
        "한": "Hangul",
        "あ": "Hiragana",
        "ה": "Hebrew",
    }
    assert {letter: script(letter) for letter in names} == names
    assert script("🐱") == "emoji" and script("→") == "symbols"
    assert [letter for letter in names if writes_no_spaces(f"a{letter}")] == ["狗", "ก", "あ"]
