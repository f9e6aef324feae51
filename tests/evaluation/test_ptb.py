"""Our tokenizer against Stanford's: on lines whose Java tokens are written down, and live where there is Java.

`ptb_golden.json` holds awkward lines of our own and what the Java program made of them. To make it anew from its own
lines (after adding one, with any words), where Java and pycocoevalcap are:
`PYTHONPATH=. python tests/evaluation/test_ptb.py`.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import pytest
from scripts.experiments.parity import all_captions, stanford_jar, stanford_words

from wordgaze.evaluation.ptb import tokenize, tokenize_all

GOLDEN = Path(__file__).with_name("ptb_golden.json")


java = pytest.mark.skipif(
    stanford_jar() is None,
    reason="needs Java and pycocoevalcap, which brings the tokenizer's jar",
)


def java_words(captions: list[str]) -> list[list[str]]:
    jar = stanford_jar()
    assert jar is not None
    return stanford_words(captions, jar)


def _golden() -> dict[str, list]:
    return json.loads(GOLDEN.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("caption", "words"), _golden()["alone"])
def test_awkward_captions_are_tokenized_as_java_did(caption: str, words: list[str]) -> None:
    assert tokenize(caption) == words


def test_a_caption_s_end_depends_on_the_next_caption_as_in_java() -> None:
    captions, words = zip(*_golden()["together"], strict=True)
    assert tokenize_all(captions) == list(words)


def test_a_starter_on_the_next_line_takes_the_stop_from_a_letter() -> None:
    assert tokenize_all(["near exit S.", "The end"])[0] == ["near", "exit", "s"]
    assert tokenize_all(["near exit S.", "the end"])[0] == ["near", "exit", "s."]
    assert tokenize_all(["near exit S.", "", "  ", "The end"])[0] == ["near", "exit", "s"]
    assert tokenize("near exit S.") == ["near", "exit", "s."]


def test_plain_captions() -> None:
    assert tokenize("A man, a plan and a Canal.") == ["a", "man", "a", "plan", "and", "a", "canal"]
    assert tokenize("The dog's bowl isn't full") == ["the", "dog", "'s", "bowl", "is", "n't", "full"]
    assert tokenize("you cannot pet (two) cats") == [
        "you",
        "can",
        "not",
        "pet",
        "-lrb-",
        "two",
        "-rrb-",
        "cats",
    ]
    assert tokenize("he cannot, she's gonna.") == ["he", "can", "not", "she", "'s", "gon", "na"]


def test_what_pycocoevalcap_forgets_to_drop_stays() -> None:
    assert tokenize("no way!! [sic] ““x””") == [
        "no",
        "way",
        "!!",
        "-lsb-",
        "sic",
        "-rsb-",
        "````",
        "x",
        "''''",
    ]


@pytest.mark.parametrize("empty", ["", " ", ".", " . ", "\n", "?", "\x00", "😀", "\xa0", "''"])
def test_nothing_to_say(empty: str) -> None:
    assert tokenize(empty) == []
    assert tokenize_all([empty, "a cat", empty]) == [[], ["a", "cat"], []]
    assert tokenize_all([]) == []


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r", "\x0b", "\x0c", "\x85", "\u2028", "\u2029"])
def test_a_newline_is_a_space_and_shifts_no_caption(newline: str) -> None:
    assert tokenize(f"a cat{newline}on a mat") == ["a", "cat", "on", "a", "mat"]
    assert tokenize_all([f"a{newline}cat", "a dog"]) == [["a", "cat"], ["a", "dog"]]


# --- Live, where there is Java ----------------------------------------------------------------------------------------


@java
def test_the_golden_file_is_what_java_makes_of_its_lines() -> None:
    assert _golden() == _made_golden(_golden())


@java
@pytest.mark.parametrize("seed", range(3))
def test_equal_to_java_on_random_text(seed: int) -> None:
    rng = random.Random(seed)
    words = [word for caption, _ in _golden()["alone"] for word in caption.split(" ") if word]
    glue = [" ", " ", " ", "", "  ", *"'-.,/&\"’()!?:"]
    captions = []
    for _ in range(3000):
        captions.append("".join(rng.choice(words) + rng.choice(glue) for _ in range(rng.randint(1, 6))))
        captions.append("".join(rng.choice("'’`\".,-:;!?&/()<>@#$_ 019aelmnostvADNST") for _ in range(9)))
    captions = [caption for caption in captions if not ("<" in caption and "=" in caption)]  # tags over lines
    for caption, ours, theirs in zip(captions, tokenize_all(captions), java_words(captions), strict=True):
        assert ours == theirs, caption


@pytest.mark.slow
@java
def test_equal_to_java_on_every_shared_caption(shared_data: Path) -> None:
    captions = all_captions(shared_data / "data")
    ours, theirs = tokenize_all(captions), java_words(captions)
    different = [caption for caption, a, b in zip(captions, ours, theirs, strict=True) if a != b]
    assert not different
    assert sum(map(len, ours)) > 1_000_000


def _made_golden(golden: dict[str, list]) -> dict[str, list]:
    alone = [caption for caption, _ in golden["alone"]]
    # A line between them that is no sentence's start, so that no caption's end depends on the next caption.
    words = java_words([line for caption in alone for line in (caption, "-")])[::2]
    together = [caption for caption, _ in golden["together"]]
    return {
        "alone": [list(pair) for pair in zip(alone, words, strict=True)],
        "together": [list(pair) for pair in zip(together, java_words(together), strict=True)],
    }


if __name__ == "__main__":
    if stanford_jar() is None:
        sys.exit("needs Java and pycocoevalcap, which brings the tokenizer's jar")
    made = _made_golden(_golden())
    rows = {kind: ",\n".join(f"  {json.dumps(pair, ensure_ascii=False)}" for pair in made[kind]) for kind in made}
    GOLDEN.write_text(
        "{\n" + ",\n".join(f' "{kind}": [\n{text}\n ]' for kind, text in rows.items()) + "\n}\n",
        encoding="utf-8",
    )
