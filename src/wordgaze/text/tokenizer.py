"""Captions ⇄ ids, and ids → words, over Hugging Face's ``tokenizers``."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from wordgaze.errors import ConfigError, ModelError
from wordgaze.text.scripts import may_start_word, writes_no_spaces

PAD, BOS, EOS = "<pad>", "<bos>", "<eos>"
# The names that other tokenizers give these tokens; the first one in a vocabulary counts.
_BOS_NAMES = (BOS, "<s>", "[CLS]", "<|startoftext|>", "<|begin_of_text|>", "<|endoftext|>")
_EOS_NAMES = (EOS, "</s>", "[SEP]", "<|end_of_text|>", "<|endoftext|>")
_PAD_NAMES = (PAD, "[PAD]", "<|pad|>")
_SAMPLE = "A Photo, of 2 dogs \u2014 and a na\u00efve man's caf\u00e9: t-shirts!"
_WORD_CHARACTER = r"[\p{L}\p{M}\p{N}]"


@dataclass(frozen=True)
class WordSpan:
    """A word and where its tokens are: ``ids[start:stop]``."""

    text: str
    start: int
    stop: int


@dataclass(frozen=True)
class SpecialIds:
    """The ids that start a caption, end it, and pad its row; the vocabulary need not have entries for them."""

    bos_id: int
    eos_id: int
    pad_id: int


class CaptionTokenizer:
    """Any ``tokenizers.Tokenizer`` that has a start and an end token, read as captions.

    Without ``special_ids`` these are found by their names, and ``pad_id`` equals ``eos_id`` where the vocabulary has no
    padding (GPT-2's ``<|endoftext|>`` is all three).
    """

    def __init__(self, tokenizer: Tokenizer, special_ids: SpecialIds | None = None) -> None:
        self._tokenizer = tokenizer
        self.special_ids = special_ids
        tokenizer.no_truncation()
        tokenizer.no_padding()
        # A caption that holds "<eos>" as text must not end there.
        tokenizer.encode_special_tokens = True
        ids = _ids_by_name(tokenizer) if special_ids is None else special_ids
        self.bos_id, self.eos_id, self.pad_id = ids.bos_id, ids.eos_id, ids.pad_id
        added = tokenizer.get_added_tokens_decoder()
        self._special = {index for index, token in added.items() if token.special}
        self._special |= {self.bos_id, self.eos_id, self.pad_id}
        unknown = getattr(tokenizer.model, "unk_token", None)
        self._unknown_id = None if unknown is None else tokenizer.token_to_id(unknown)
        vocabulary = tokenizer.get_vocab()
        self._has_all_bytes = all(byte in vocabulary for byte in pre_tokenizers.ByteLevel.alphabet())

    def __reduce__(self) -> tuple[object, tuple[Tokenizer, SpecialIds | None]]:
        # A pickled Tokenizer forgets encode_special_tokens; made anew, ours does not.
        return CaptionTokenizer, (self._tokenizer, self.special_ids)

    @classmethod
    def train(cls, captions: Iterable[str], vocab_size: int = 6000, min_frequency: int = 2) -> CaptionTokenizer:
        """Train byte-level BPE (Sennrich et al. 2016, section 3.2; bytes as in GPT-2): no text is unknown.

        The tokenizer itself normalizes captions: NFKC, lower case, and a space for all but letters, digits, and the
        apostrophes and hyphens inside words.
        """
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        if vocab_size < len(alphabet) + 3:
            raise ConfigError(
                f"tokenizer: vocab_size is {vocab_size}; give at least {len(alphabet) + 3}, "
                "for all bytes and three special tokens."
            )
        tokenizer = Tokenizer(models.BPE())
        tokenizer.normalizer = _caption_normalizer()
        # Split at spaces only, so that "t-shirt" can become one token; each word carries its space.
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(" ", behavior="merged_with_next"),
                pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=False),
            ]
        )
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size,
            min_frequency=min_frequency,
            special_tokens=[PAD, BOS, EOS],
            initial_alphabet=sorted(alphabet),
            show_progress=False,
        )
        tokenizer.train_from_iterator(map(_text_alone, captions), trainer)
        return cls(tokenizer)

    @classmethod
    def load(cls, path: str | os.PathLike[str], special_ids: SpecialIds | None = None) -> CaptionTokenizer:
        """Return the tokenizer of a ``tokenizer.json``; raises ModelError if it has no start or end token."""
        path = Path(path)
        if not path.is_file():
            raise ModelError(f"{path}: there is no such tokenizer file; give the path of a tokenizer.json.")
        try:
            return cls(Tokenizer.from_file(str(path)), special_ids)
        except ModelError as error:
            raise ModelError(f"{path}: {error}") from error
        except Exception as error:  # tokenizers raises nothing narrower
            raise ModelError(
                f"{path} is not a readable tokenizer.json ({error}); fetch or write the model folder again."
            ) from error

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write ``tokenizer.json``; every library that reads the format gives the same ids."""
        self._tokenizer.save(str(path))

    def is_saved_in(self, path: str | os.PathLike[str]) -> bool:
        """Return whether a file holds what :meth:`save` would write."""
        try:
            return json.loads(Path(path).read_text(encoding="utf-8")) == json.loads(self._tokenizer.to_str())
        except (OSError, ValueError):
            return False

    @property
    def vocab_size(self) -> int:
        """Return the number of ids, special ones included."""
        return self._tokenizer.get_vocab_size(with_added_tokens=True)

    def fingerprint(self) -> str:
        """Return what differs between tokenizers that give other ids: of the vocabulary, and of a sample's ids."""
        vocabulary = sorted(self._tokenizer.get_vocab().items())
        known = [vocabulary, self.bos_id, self.eos_id, self.pad_id, self.encode(_SAMPLE)]
        return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:16]

    def encode(self, caption: str, max_length: int | None = None) -> list[int]:
        """Return the ids of ``caption``, from the start to the end token; at most ``max_length``, the end included."""
        ids = self._tokenizer.encode(_text_alone(caption), add_special_tokens=False).ids
        if max_length is not None:
            if max_length < 2:
                raise ConfigError(f"max_length is {max_length}; give at least 2, for the start and the end token.")
            ids = ids[: max_length - 2]
        return [self.bos_id, *ids, self.eos_id]

    def encode_prompt(self, prompt: str) -> list[int]:
        """Return the ids of the beginning of a caption, after the start token; raise ConfigError if it has no words."""
        ids = self.encode(prompt.strip())[1:-1] if prompt else []
        if prompt and not self.words(ids):
            raise ConfigError(f"The prompt {prompt!r} holds no words; write the beginning of a caption.")
        return ids

    def says_nothing(self, caption: str) -> bool:
        """Return whether no word is left of ``caption``: an emoji alone, a stop, words that are all unknown."""
        if self._has_all_bytes and any(letter.isascii() and letter.isalnum() for letter in caption):
            return False  # seen without encoding, which takes long for half a million captions
        ids = [token_id for token_id in self.encode(caption) if token_id != self._unknown_id]
        return not self.decode(ids)

    def decode(self, ids: Iterable[int]) -> str:
        """Return the caption: special tokens dropped, the rest decoded as one piece, single spaces, no final stop."""
        text = self._text([token_id for token_id in ids if token_id not in self._special])
        return " ".join(text.split()).rstrip(". ")

    def words(self, ids: Sequence[int]) -> list[WordSpan]:
        """Return the words of ``ids`` with their tokens; joined as the text joins them, they are ``decode(ids)``.

        A token belongs to the word that the text ends with once it is decoded, so this works for any tokenizer; a
        token that holds several words gives one span. Where a script writes no spaces, the tokenizer's pieces are the
        words, as far as they end with a whole character.
        """
        positions = [position for position, token_id in enumerate(ids) if token_id not in self._special]
        text_ids = [ids[position] for position in positions]
        spans = [
            WordSpan(piece.text, positions[piece.start], positions[piece.stop - 1] + 1)
            for span in self._text_words(text_ids)
            for piece in self._pieces(text_ids, span)
        ]
        while spans and spans[-1].text.endswith("."):  # the final stop is no word, nor part of one
            last = spans.pop()
            if stripped := last.text.rstrip(". "):
                spans.append(WordSpan(stripped, last.start, last.stop))
        return spans

    def _text_words(self, ids: list[int]) -> Iterator[WordSpan]:
        """Yield the words, parted by spaces, of ids without special ones."""
        words = self._text(ids).split()
        owners = []  # of each token: the index of its word
        for end in range(1, len(ids) + 1):
            text = self._text(ids[:end])
            # A token that is only the space before a word belongs to the word that follows.
            owners.append(max(len(text.split()) - (not text[-1:].isspace()), 0))
        for index in range(len(owners) - 2, -1, -1):  # a later token may join what looked like two words
            owners[index] = min(owners[index], owners[index + 1])
        written = 0
        for index, owner in enumerate(owners):
            if owner >= len(words):  # spaces at the end
                break
            if index + 1 < len(owners) and owners[index + 1] == owner:
                continue
            yield WordSpan(" ".join(words[written : owner + 1]), owners.index(owner), index + 1)
            written = owner + 1

    def _pieces(self, ids: list[int], span: WordSpan) -> Iterator[WordSpan]:
        """Yield the words of a span: in a script without spaces its tokens, joined where a character needs several."""
        whole = self._text(ids[span.start : span.stop])
        if not writes_no_spaces(span.text) or " ".join(whole.split()) != span.text:
            yield span
            return
        start, written = span.start, 0
        for stop in range(span.start + 1, span.stop):
            # Bytes that are no character yet decode to one that is not in the whole.
            text = self._text(ids[span.start : stop])
            if whole.startswith(text) and text[written:].strip() and may_start_word(whole, len(text)):
                yield WordSpan(" ".join(text[written:].split()), start, stop)
                start, written = stop, len(text)
        yield WordSpan(" ".join(whole[written:].split()), start, span.stop)

    def _text(self, ids: list[int]) -> str:
        return self._tokenizer.decode(ids, skip_special_tokens=False)


def _text_alone(caption: str) -> str:
    """Return the caption with U+FFFD for what is no text: halves of cut emoji, bytes of a command line."""
    if caption.isascii():
        return caption
    return caption.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _caption_normalizer() -> normalizers.Normalizer:
    replace = normalizers.Replace
    return normalizers.Sequence(
        [
            normalizers.NFKC(),
            normalizers.Lowercase(),
            replace(Regex("[‘’`´]"), "'"),
            replace(Regex("[‐‑−]"), "-"),
            # Some sets come split into words: "a man 's shirt".
            replace(Regex(rf"(?<={_WORD_CHARACTER})\s+'(?=s(?!{_WORD_CHARACTER}))"), "'"),
            replace(
                Regex(rf"(?<!{_WORD_CHARACTER})['\-]+|['\-]+(?!{_WORD_CHARACTER})|[^\p{{L}}\p{{M}}\p{{N}}'\-]+"),
                " ",
            ),
            replace(Regex(r" {2,}"), " "),
            normalizers.Strip(),
        ]
    )


def _ids_by_name(tokenizer: Tokenizer) -> SpecialIds:
    eos_id = _first_id(tokenizer, _EOS_NAMES, "end")
    pads = (tokenizer.token_to_id(name) for name in _PAD_NAMES)
    pad_id = next((pad for pad in pads if pad is not None), eos_id)
    return SpecialIds(_first_id(tokenizer, _BOS_NAMES, "start"), eos_id, pad_id)


def _first_id(tokenizer: Tokenizer, names: Sequence[str], which: str) -> int:
    ids = (tokenizer.token_to_id(name) for name in names)
    first = next((token_id for token_id in ids if token_id is not None), None)
    if first is None:
        raise ModelError(f"the tokenizer has no {which} token; add one of {', '.join(names)}.")
    return first
