"""What is said of captions whose scores mean something else than they seem to, and of which nothing is said."""

from __future__ import annotations

import pytest

from wordgaze.evaluation.doubts import doubts


@pytest.mark.parametrize(
    "text",
    [
        "一个男人骑摩托车",
        "狗在跑",
        "男がバイクに乗っている",
        "オートバイに乗る男性",
        "ผู้ชายขี่รถจักรยานยนต์บนถนน",
        "ຜູ້ຊາຍຂີ່ລົດຈັກຢູ່ຖະໜົນ",
        "បុរសជិះម៉ូតូនៅលើផ្លូវ",
        "လူတစ်ယောက်ဆိုင်ကယ်စီးနေသည်",
        "一只狗在沙发上，一只猫在床上。",
    ],
)
def test_text_without_spaces_is_said(text: str) -> None:
    [sentence] = doubts([text, text], "captions")
    assert sentence.startswith("2 of the 2 captions are in a script without spaces between words (")
    assert "segment captions and references in the same way first" in sentence


@pytest.mark.parametrize(
    "text",
    [
        "a man riding a motorcycle",
        "一个 男人 骑 摩托车",
        "一只 狗 在 沙发 上",
        "男 が バイク に 乗っ て いる",
        "ผู้ชาย ขี่ รถจักรยานยนต์ บน ถนน",
        "남자가 오토바이를 타고 있다",
        "رجل يركب دراجة نارية",
        "एक आदमी मोटरसाइकिल चला रहा है",
        "мужчина едет на мотоцикле",
        "ένας άνδρας οδηγεί",
        "Người đàn ông đi xe máy",
        "a sign that says <3 and [exit], 5 < 6 > 4",
        "e-mail @home #1, 100% cotton",
        "Ġgantija temple",
        "a café's \u201cmenu\u201d",
    ],
)
def test_other_text_is_left_to_the_scores(text: str) -> None:
    assert doubts([text, text], "captions") == []


def test_a_few_among_many_are_no_mistake() -> None:
    assert doubts(["a dog runs"] * 99 + ["一个男人骑摩托车"], "references") == []
    assert doubts(["a dog runs"] * 9 + ["一个男人骑摩托车"], "references")[0].startswith("1 of the 10 references is in")


@pytest.mark.parametrize(
    ("text", "marks"),
    [
        ("<start> a dog <end>", ["<start> in 1", "<end> in 1"]),
        ("<START> a dog <END>", ["<START> in 1", "<END> in 1"]),
        ("<s>a dog</s>", ["<s> in 1", "</s> in 1"]),
        ("<|startoftext|>a dog<|endoftext|>", ["<|startoftext|> in 1", "<|endoftext|> in 1"]),
        ("<bos> a dog <eos> <pad> <pad>", ["<bos> in 1", "<eos> in 1", "<pad> in 1"]),
        ("[CLS] a dog [SEP] [PAD]", ["[CLS] in 1", "[SEP] in 1", "[PAD] in 1"]),
        ("[DEC] a dog [unused3]", ["[DEC] in 1", "[unused3] in 1"]),
        ("a <unk> on a couch", ["<unk> in 1"]),
        ("startseq a dog endseq", ["startseq in 1", "endseq in 1"]),
        ("a dog rid ##ing a bike", ["## in 1"]),
        ("a dog rid@@ ing a bike", ["@@ in 1"]),
        ("\u2581a\u2581dog", ["\u2581 in 1"]),
        ("a\u0120dog\u0120on", ["\u0120dog\u0120 in 1"]),
        ("a dog<0x0A>", ["<0x0A> in 1"]),
        ("<image> a dog", ["<image> in 1"]),
    ],
)
def test_marks_of_tokenizers_are_named_and_counted(text: str, marks: list[str]) -> None:
    [sentence] = doubts([text, "a dog"], "captions")
    assert sentence.startswith("1 of the 2 captions holds marks of a tokenizer (")
    assert all(mark in sentence for mark in marks) and sentence.endswith("; remove them")


@pytest.mark.parametrize("text", ["", "  ", "...", "😀", "\u200b"])
def test_captions_without_words_are_counted(text: str) -> None:
    [sentence] = doubts([text, "a dog", text], "captions")
    assert sentence.startswith("2 of the 3 captions have no words that scores count")
    assert "\u200b" not in sentence


def test_broken_characters_and_missing_values() -> None:
    [sentence] = doubts(["a \ud83d dog"], "captions")
    assert sentence.startswith("1 of the 1 captions holds half a character")
    [sentence] = doubts(["nan", "None", "a nan"], "captions")
    assert sentence.startswith("2 of the 3 captions are what programs write where there is none")
    sentence.encode()
