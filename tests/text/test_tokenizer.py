from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from wordgaze.errors import ConfigError, ModelError
from wordgaze.text.tokenizer import CaptionTokenizer, WordSpan

CAPTIONS = [
    "A man's T-shirt, blue.",
    "Two dogs run through the grass .",
    "A woman in a red coat rides a bicycle down the street.",
    "a man 's hat lies on the grass",
    "The dog's ball is on the street!",
    "The café is closed",
] * 3


@pytest.fixture(scope="module")
def tokenizer() -> CaptionTokenizer:
    return CaptionTokenizer.train(CAPTIONS, vocab_size=400)


def _text(tokenizer: CaptionTokenizer, caption: str) -> str:
    return tokenizer.decode(tokenizer.encode(caption))


@pytest.mark.parametrize(
    ("caption", "text"),
    [
        (" A man's T-shirt, blue. ", "a man's t-shirt blue"),
        ("a man 's hat", "a man's hat"),  # as sets that come split into words have it
        ("the dogs' 'big' ball -- rock-'n'-roll", "the dogs big ball rock n roll"),
        ("don’t  stop\n\tnow!?", "don't stop now"),
        ("ＦＵＬＬ width, ﬁsh, №2", "full width fish no2"),
        ("snow/ice & rain (no. 3)", "snow ice rain no 3"),
        ("Ärger im CAFÉ: 日本語", "ärger im café 日本語"),
        ("e\u0301 is é", "é is é"),
        ("हिन्दी", "हिन्दी"),  # its vowel signs are marks, not letters
        ("... -- '' \N{CAT FACE}", ""),
    ],
)
def test_what_a_caption_becomes(tokenizer: CaptionTokenizer, caption: str, text: str) -> None:
    assert _text(tokenizer, caption) == text
    assert tokenizer.encode(text) == tokenizer.encode(caption)


@pytest.mark.parametrize("caption", ["a dog\ud83d", "a \udcff dog", "\ud800 a dog \udfff"])
def test_halves_of_characters_are_no_letters(tokenizer: CaptionTokenizer, caption: str) -> None:
    assert _text(tokenizer, caption) == "a dog"
    again = CaptionTokenizer.train([caption, *CAPTIONS], vocab_size=300)
    assert _text(again, caption) == "a dog"


@pytest.mark.parametrize("caption", ["", "  \n", "..."])
def test_empty_text_is_start_and_end(tokenizer: CaptionTokenizer, caption: str) -> None:
    assert tokenizer.encode(caption) == [tokenizer.bos_id, tokenizer.eos_id]
    assert tokenizer.decode(tokenizer.encode(caption)) == ""
    assert tokenizer.words(tokenizer.encode(caption)) == []


def test_special_tokens_in_a_text_are_text(tokenizer: CaptionTokenizer) -> None:
    ids = tokenizer.encode("a <eos> dog <pad>")
    assert ids.count(tokenizer.eos_id) == 1 and tokenizer.pad_id not in ids
    assert tokenizer.decode(ids) == "a eos dog pad"


def test_encode_cuts_to_the_length_and_keeps_the_end(tokenizer: CaptionTokenizer) -> None:
    whole = tokenizer.encode("two dogs run through the grass")
    for length in range(2, len(whole) + 3):
        ids = tokenizer.encode("two dogs run through the grass", max_length=length)
        assert ids == [*whole[:-1][: length - 1], tokenizer.eos_id]
    with pytest.raises(ConfigError, match="max_length is 1"):
        tokenizer.encode("two", max_length=1)


def test_decode_drops_special_tokens_wherever_they_are(tokenizer: CaptionTokenizer) -> None:
    bos, *ids, eos = tokenizer.encode("two dogs run")
    pad = tokenizer.pad_id
    assert tokenizer.decode([bos, bos, *ids, eos, eos, pad, pad]) == "two dogs run"
    assert tokenizer.decode([pad, *ids[:1], eos, *ids[1:]]) == "two dogs run"


def test_around_a_dropped_token_the_text_is_one_piece() -> None:
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "Skate", "##board", "##er", "'", "s", "."]
    inner = Tokenizer(models.WordPiece({piece: index for index, piece in enumerate(pieces)}))
    inner.decoder = decoders.WordPiece()
    inner.add_special_tokens(pieces[:4])
    tokenizer = CaptionTokenizer(inner)
    ids = [2, 4, 1, 5, 6, 4, 99, 9, 3]
    assert tokenizer.decode(ids) == "Skateboarder Skate"
    assert tokenizer.words(ids) == [WordSpan("Skateboarder", 1, 5), WordSpan("Skate", 5, 8)]


def test_words_the_training_knew_are_one_token_and_others_many(tokenizer: CaptionTokenizer) -> None:
    spans = tokenizer.words(tokenizer.encode("the dog's bicycles zzz"))
    assert [span.text for span in spans] == ["the", "dog's", "bicycles", "zzz"]
    lengths = [span.stop - span.start for span in spans]
    assert lengths[:2] == [1, 1] and min(lengths[2:]) > 1
    assert (spans[0].start, spans[-1].stop) == (1, 1 + sum(lengths))


def test_training_gives_the_vocabulary_asked_for_and_the_same_each_time(tmp_path: Path) -> None:
    files = []
    for name in ("a", "b"):
        tokenizer = CaptionTokenizer.train(CAPTIONS, vocab_size=300)
        assert tokenizer.vocab_size == 300
        tokenizer.save(tmp_path / name)
        files.append((tmp_path / name).read_bytes())
    assert files[0] == files[1]
    with pytest.raises(ConfigError, match="at least 259"):
        CaptionTokenizer.train(CAPTIONS, vocab_size=100)


def test_saved_and_loaded_is_the_same_also_for_the_library_alone(tokenizer: CaptionTokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "tokenizer.json")
    loaded = CaptionTokenizer.load(tmp_path / "tokenizer.json")
    alone = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for caption in (*CAPTIONS, "Ärger ♥", ""):
        ids = tokenizer.encode(caption)
        assert loaded.encode(caption) == ids
        assert alone.encode(caption).ids == ids[1:-1]
        assert loaded.decode(ids) == tokenizer.decode(ids)


@pytest.mark.parametrize("again", [lambda t: pickle.loads(pickle.dumps(t)), copy.deepcopy])
def test_a_copy_encodes_the_same(tokenizer: CaptionTokenizer, again) -> None:
    assert again(tokenizer).encode("a <eos> dog") == tokenizer.encode("a <eos> dog")


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\x00junk", b"[1, 2]", b'{"version": "1.0"}', None])
def test_junk_is_a_sentence(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=r"tokenizer\.json.*;"):
        CaptionTokenizer.load(path)
    with pytest.raises(ModelError, match="no such tokenizer file"):
        CaptionTokenizer.load(tmp_path)


def test_a_tokenizer_without_an_end_is_a_sentence(tmp_path: Path) -> None:
    Tokenizer(models.WordLevel({"<bos>": 0, "dog": 1}, unk_token="dog")).save(str(tmp_path / "t.json"))
    with pytest.raises(ModelError, match=r"t\.json: the tokenizer has no end token"):
        CaptionTokenizer.load(tmp_path / "t.json")


def test_truncation_and_padding_of_a_loaded_file_are_ignored(tokenizer: CaptionTokenizer, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    tokenizer.save(path)
    alone = Tokenizer.from_file(str(path))
    alone.enable_truncation(2)
    alone.enable_padding(length=30)
    alone.save(str(path))
    assert json.loads(path.read_text())["truncation"]
    assert CaptionTokenizer.load(path).encode(CAPTIONS[2]) == tokenizer.encode(CAPTIONS[2])


def _gpt2_like() -> CaptionTokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        CAPTIONS,
        trainers.BpeTrainer(
            vocab_size=330, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
        ),
    )
    return CaptionTokenizer(made)


def _wordpiece() -> CaptionTokenizer:
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    made.train_from_iterator(
        [*CAPTIONS, "blurred hats"],
        trainers.WordPieceTrainer(vocab_size=75, special_tokens=special, show_progress=False),
    )
    return CaptionTokenizer(made)


def _metaspace() -> CaptionTokenizer:
    made = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    made.train_from_iterator(
        ["a woman in a red coat", "two dogs run"],
        trainers.BpeTrainer(vocab_size=290, special_tokens=special[:3], show_progress=False),
    )
    state = json.loads(made.to_str())
    for index, name in enumerate(special[3:]):
        state["model"]["vocab"].setdefault(name, 1000 + index)
    return CaptionTokenizer(Tokenizer.from_str(json.dumps(state)))


@pytest.mark.parametrize(
    ("make", "caption", "words"),
    [
        (_gpt2_like, "a woman in dogwood coats", ["a", "woman", "in", "dogwood", "coats"]),
        (_gpt2_like, "Two tall café 日本 🐱 x.", ["Two", "tall", "café", "日", "本", "🐱", "x"]),
        (_wordpiece, "Red hats, blurred grassroots.", ["red", "hats,", "blurred", "grassroots"]),
        (_metaspace, "two dogwoods in a 日本 coat", ["two", "dogwoods", "in", "a", "日", "本", "coat"]),
        (_metaspace, "🐱 a red été", ["🐱", "a", "red", "été"]),
    ],
)
def test_words_of_any_tokenizer(make, caption: str, words: list[str]) -> None:
    tokenizer = make()
    ids = tokenizer.encode(caption)
    spans = tokenizer.words(ids)
    assert [span.text for span in spans] == words
    assert tokenizer.decode(ids) == " ".join(words).replace("日 本", "日本")
    assert spans[0].start == 1 and all(a.stop == b.start for a, b in pairwise(spans))
    for span in spans:  # the tokens of a span, alone, say its word
        assert tokenizer.decode(ids[span.start : span.stop]) == span.text
    assert max(span.stop - span.start for span in spans) > 1


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        ("一只狗在沙发上", ["一", "只", "狗", "在", "沙", "发", "上"]),
        ("a dog 一只狗 runs", ["a", "dog", "一", "只", "狗", "runs"]),
        (
            "T恤 and iphone手机",
            ["t", "恤", "and", "iphone", "手", "机"],
        ),  # Latin words stay whole beside them
        (
            "ソファの上に犬が",
            ["ソファ", "の", "上", "に", "犬", "が"],
        ),  # and so does what Katakana spells out
        ("人々がきょう", ["人々", "が", "きょ", "う"]),
        ("หมานั่ง", ["ห", "มา", "นั่", "ง"]),
        ("โซฟา", ["โซ", "ฟา"]),  # the vowel before its consonant
        ("ເດັກນ້ອຍ", ["ເດັ", "ກ", "ນ້", "ອ", "ຍ"]),
        ("ឆ្កែនៅ", ["ឆ្កែ", "នៅ"]),  # a consonant below another
        ("ခွေးတစ်", ["ခွေး", "တ", "စ်"]),
        ("한국어 문장", ["한국어", "문장"]),  # scripts with spaces are split at these alone
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("كلب على أريكة", ["كلب", "على", "أريكة"]),
        ("ett hus på berget", ["ett", "hus", "på", "berget"]),
    ],
)
def test_words_of_scripts_without_spaces_are_pieces_of_whole_characters(
    tokenizer: CaptionTokenizer, caption: str, words: list[str]
) -> None:
    """The tokenizer knows none of these letters: each byte is a token, and no letter is cut."""
    ids = tokenizer.encode(caption)
    spans = tokenizer.words(ids)
    assert [span.text for span in spans] == words
    assert (spans[0].start, spans[-1].stop) == (1, len(ids) - 1)
    assert all(before.stop == after.start for before, after in pairwise(spans))


def test_pieces_that_the_tokenizer_has_learned_are_words() -> None:
    captions = ["一只狗在沙发上", "一只狗在草地上", "一只猫在草地上", "หมานั่งบนโซฟา", "หมานั่งบนเตียง"]
    tokenizer = CaptionTokenizer.train(captions * 5, vocab_size=330)
    lengths = set()
    for caption in [*captions, "草地上一只熊", "หมานอน"]:
        ids = tokenizer.encode(caption)
        spans = tokenizer.words(ids)
        assert "".join(span.text for span in spans) == caption == tokenizer.decode(ids)
        assert (spans[0].start, spans[-1].stop) == (1, len(ids) - 1)
        assert all(before.stop == after.start for before, after in pairwise(spans))
        for span in spans:
            assert tokenizer.decode(ids[span.start : span.stop]) == span.text
        lengths |= {len(span.text) for span in spans}
    assert max(lengths) > 2


@pytest.mark.parametrize("emoji", ["👩\u200d👩\u200d👧", "👍🏽", "🇩🇪", "❤\ufe0f"])
def test_emoji_of_several_characters_stay_in_one_word(emoji: str) -> None:
    tokenizer = _gpt2_like()
    spans = tokenizer.words(tokenizer.encode(f"狗{emoji}猫"))
    assert [span.text for span in spans] == ["狗", emoji, "猫"]


def test_gpt2s_one_special_token_serves_as_all_three() -> None:
    tokenizer = _gpt2_like()
    assert tokenizer.bos_id == tokenizer.eos_id == tokenizer.pad_id
    ids = tokenizer.encode("a red coat")
    assert tokenizer.decode([*ids, tokenizer.pad_id]) == "a red coat"


def test_a_token_with_several_words_is_one_span() -> None:
    made = Tokenizer(models.WordLevel({"<bos>": 0, "<eos>": 1, "in front of": 2, "dog": 3}, unk_token="dog"))
    spans = CaptionTokenizer(made).words([0, 3, 2, 3, 1])
    assert [(span.text, span.start, span.stop) for span in spans] == [
        ("dog", 1, 2),
        ("in front of", 2, 3),
        ("dog", 3, 4),
    ]


def test_importing_it_is_light() -> None:
    code = "import sys, wordgaze.text.tokenizer; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_shared_captions_survive(shared_data: Path) -> None:
    captions = json.loads((shared_data / "data/coco/captions_val.json").read_text(encoding="utf-8"))["annotations"]
    lines = [entry["caption"] for entry in captions]
    tokenizer = CaptionTokenizer.train(lines, vocab_size=1500)
    for line in lines[:500]:
        ids = tokenizer.encode(line)
        text = tokenizer.decode(ids)
        assert tokenizer.encode(text) == ids
        spans = tokenizer.words(ids)
        assert [span.text for span in spans] == text.split()
        assert sum(span.stop - span.start for span in spans) == len(ids) - 2
