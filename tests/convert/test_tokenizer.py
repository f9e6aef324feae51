"""The tokenizer of a checkpoint, from whichever files it has: the same ids and text as transformers' own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from scripts.experiments import tiny_checkpoints as tiny

from wordgaze.convert.checkpoint import Checkpoint
from wordgaze.convert.tokenizer import caption_tokenizer
from wordgaze.errors import ModelError
from wordgaze.text.tokenizer import CaptionTokenizer, SpecialIds

IDS = SpecialIds(2, 3, 0)
CAPTIONS = ["A man's T-shirt, blue.", "the kiteboarder eats balls", "a dog - red; a cat", "don ' t"]


def load(folder: Path, ids: SpecialIds = IDS, vocab_size: int = 400) -> CaptionTokenizer:
    return caption_tokenizer(Checkpoint(folder, "checkpoint", {}), ids, vocab_size)


def save(folder: Path, name: str, values: Any) -> None:
    (folder / name).write_text(json.dumps(values), encoding="utf-8")


def save_word_piece(folder: Path, *more: str, **settings: Any) -> None:
    entries = [*tiny.SPECIAL, *tiny.WORDS, *tiny.PIECES, *more]
    (folder / "vocab.txt").write_text("".join(f"{entry}\n" for entry in entries), encoding="utf-8")
    save(folder, "tokenizer_config.json", settings)


def save_byte_level(folder: Path, special: list[str], **settings: Any) -> None:
    inner = json.loads(tiny.byte_level(special).to_str())["model"]
    save(folder, "vocab.json", inner["vocab"])
    lines = ["#version: 0.2", *(" ".join(pair) for pair in inner["merges"])]
    (folder / "merges.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    save(folder, "tokenizer_config.json", settings)


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("clean_up", [True, False])
def test_a_vocab_txt_gives_the_ids_and_text_of_transformers(tmp_path: Path, lower: bool, clean_up: bool) -> None:
    transformers = pytest.importorskip("transformers")
    save_word_piece(
        tmp_path,
        *("A", "T", "don"),
        tokenizer_class="BertTokenizer",
        do_lower_case=lower,
        clean_up_tokenization_spaces=clean_up,
    )
    ours, theirs = load(tmp_path), transformers.BertTokenizer.from_pretrained(tmp_path)
    texts = set()
    for caption in CAPTIONS:
        ids = ours.encode(caption)
        assert ids[1:-1] == theirs(caption, add_special_tokens=False)["input_ids"]
        text = theirs.decode(ids, skip_special_tokens=True).strip().removesuffix(".").strip()
        assert ours.decode(ids) == text == " ".join(span.text for span in ours.words(ids))
        texts.add(text)
    assert ("don't" in texts) == clean_up
    assert any(text.startswith("A ") for text in texts) == (not lower)


@pytest.mark.parametrize(
    ("special", "name", "settings"),
    [
        (["<|endoftext|>"], "GPT2Tokenizer", {}),
        (
            ["<|endoftext|>"],
            "GPT2Tokenizer",
            {"add_prefix_space": True, "clean_up_tokenization_spaces": True},
        ),
        (["<s>", "<pad>", "</s>", "<unk>", "<mask>"], "RobertaTokenizer", {"bos_token": "<s>"}),
    ],
)
def test_a_vocab_json_with_merges_gives_the_ids_and_text_of_transformers(
    tmp_path: Path, special: list[str], name: str, settings: dict[str, Any]
) -> None:
    transformers = pytest.importorskip("transformers")
    save_byte_level(tmp_path, special, tokenizer_class=name, **settings)
    ids_of = SpecialIds(0, len(special) // 2, min(1, len(special) - 1))
    ours, theirs = load(tmp_path, ids_of), getattr(transformers, name).from_pretrained(tmp_path)
    for caption in CAPTIONS:
        ids = ours.encode(caption)
        assert ids[1:-1] == theirs(caption, add_special_tokens=False)["input_ids"]
        text = " ".join(theirs.decode(ids, skip_special_tokens=True).split()).rstrip(". ")
        assert ours.decode(ids) == text == " ".join(span.text for span in ours.words(ids))


def test_tokenizer_json_comes_first(tmp_path: Path) -> None:
    tiny.word_piece().save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "vocab.txt").write_text("[UNK]\n")
    assert load(tmp_path).vocab_size == len([*tiny.SPECIAL, *tiny.WORDS, *tiny.PIECES])


def test_pieces_are_one_word_and_ids_without_an_entry_are_none(tmp_path: Path) -> None:
    save_word_piece(tmp_path)
    tokenizer = load(tmp_path)
    ids = tokenizer.encode("a kiteboarder")
    assert [(span.text, span.stop - span.start) for span in tokenizer.words(ids)] == [
        ("a", 1),
        ("kiteboarder", 3),
    ]
    assert tokenizer.decode([*ids[:-1], 300, 399, 3]) == "a kiteboarder"


def test_signs_that_end_lines_elsewhere_are_entries(tmp_path: Path) -> None:
    save_word_piece(tmp_path, "\u2028", "\x85", "last")
    tokenizer = load(tmp_path)
    assert tokenizer.vocab_size == len([*tiny.SPECIAL, *tiny.WORDS, *tiny.PIECES]) + 3
    assert tokenizer.decode([tokenizer.vocab_size - 1]) == "last"


def test_added_tokens_have_the_ids_that_the_settings_give_them(tmp_path: Path) -> None:
    count = len([*tiny.SPECIAL, *tiny.WORDS, *tiny.PIECES])
    added = {
        str(count): {"content": "[DEC]", "special": True},
        str(count + 1): {"content": "zeppelin", "special": False},
    }
    save_word_piece(tmp_path, added_tokens_decoder=added)
    tokenizer = load(tmp_path)
    assert tokenizer.decode([count, count + 1, 6]) == "zeppelin the"


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "has no tokenizer"),
        ({"vocab.json": "{}"}, "has no tokenizer"),
        ({"tokenizer.json": "{"}, "can't be read"),
        ({"vocab.json": "[]", "merges.txt": ""}, "holds no JSON object"),
        ({"vocab.txt": b"\xff\xfe"}, r"vocab\.txt can't be read"),
        (
            {"vocab.txt": "\n".join(["[UNK]", *map(str, range(400))])},
            "entries up to id 400, and .* 400 embeddings",
        ),
    ],
)
def test_a_tokenizer_that_does_not_fit_is_said(tmp_path: Path, files: dict[str, Any], words: str) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ModelError, match=words) as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)
