"""A checkpoint's tokenizer: ``tokenizer.json``, else ``vocab.txt``, else ``vocab.json`` with ``merges.txt``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

from wordgaze.convert.checkpoint import Checkpoint
from wordgaze.errors import ModelError, first_line
from wordgaze.text.tokenizer import CaptionTokenizer, SpecialIds

TOKENIZER, VOCABULARY = "tokenizer.json", "vocab.txt"
BPE_VOCABULARY, MERGES = "vocab.json", "merges.txt"
SETTINGS = "tokenizer_config.json"
FILES = (TOKENIZER, VOCABULARY, BPE_VOCABULARY, MERGES, SETTINGS)

# What each token is called in the settings, and what it is in BERT, GPT-2 and RoBERTa unless they say otherwise.
_NAMES = ("unk_token", "bos_token", "eos_token", "sep_token", "cls_token", "pad_token", "mask_token")
_BERT = ("[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]")
_BPE = ("<|endoftext|>", "<s>", "</s>", "<unk>", "<pad>", "<mask>")
# What transformers' clean_up_tokenization_spaces replaces, in its order.
_CLEAN_UP = {
    **{f" {stop}": stop for stop in ".?!,"},
    " ' ": "'",
    **{f" {end}": end for end in ("n't", "'m", "'s", "'ve", "'re")},
}


def caption_tokenizer(checkpoint: Checkpoint, ids: SpecialIds, vocab_size: int) -> CaptionTokenizer:
    """Return the tokenizer of a checkpoint with ``vocab_size`` embeddings; raises ModelError.

    It may have fewer entries: ids without one decode to nothing.
    """
    settings = checkpoint.json(SETTINGS) or {}
    try:
        tokenizer, file = _read(checkpoint, settings)
    except ModelError:
        raise
    except Exception as error:  # tokenizers raises nothing narrower
        raise ModelError(
            f"The tokenizer of {checkpoint.folder} can't be read ({first_line(error)}); download it again."
        ) from error
    last = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)
    if last >= vocab_size:
        raise ModelError(
            f"{checkpoint.folder / file} has entries up to id {last}, and config.json says {vocab_size} embeddings; "
            "take both files from the same checkpoint."
        )
    # As in transformers 5, which leaves byte-level text as it is.
    if settings.get("clean_up_tokenization_spaces") is True and not isinstance(tokenizer.model, models.BPE):
        steps = [decoders.Replace(found, other) for found, other in _CLEAN_UP.items()]
        own = [] if tokenizer.decoder is None else [tokenizer.decoder]
        tokenizer.decoder = decoders.Sequence([*own, decoders.Fuse(), *steps])
    return CaptionTokenizer(tokenizer, ids)


def _read(checkpoint: Checkpoint, settings: Mapping[str, Any]) -> tuple[Tokenizer, str]:
    """Return the tokenizer, and the file that its entries come from."""
    folder = checkpoint.folder
    if (folder / TOKENIZER).is_file():
        return Tokenizer.from_file(str(folder / TOKENIZER)), TOKENIZER
    if (folder / VOCABULARY).is_file():
        return _word_piece(checkpoint, settings), VOCABULARY
    if (folder / BPE_VOCABULARY).is_file() and (folder / MERGES).is_file():
        return _byte_level(checkpoint, settings), BPE_VOCABULARY
    raise ModelError(
        f"{folder} has no tokenizer ({TOKENIZER}, {VOCABULARY}, or {BPE_VOCABULARY} with {MERGES}); "
        "download the model again, or save its tokenizer there."
    )


def _word_piece(checkpoint: Checkpoint, settings: Mapping[str, Any]) -> Tokenizer:
    vocabulary = {token: index for index, token in enumerate(checkpoint.lines(VOCABULARY))}
    unknown = _content(settings.get("unk_token")) or "[UNK]"
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=unknown))
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=settings.get("tokenize_chinese_chars", True),
        strip_accents=settings.get("strip_accents"),
        lowercase=settings.get("do_lower_case", True),
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    _add_special(tokenizer, settings, _BERT)
    return tokenizer


def _byte_level(checkpoint: Checkpoint, settings: Mapping[str, Any]) -> Tokenizer:
    vocabulary = checkpoint.json(BPE_VOCABULARY) or {}
    lines = checkpoint.lines(MERGES)
    merges = [tuple(line.split(" ")) for line in lines if line and not line.startswith("#version")]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))  # type: ignore[arg-type]
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=settings.get("add_prefix_space") is True)
    tokenizer.decoder = decoders.ByteLevel()
    _add_special(tokenizer, settings, _BPE)
    return tokenizer


def _add_special(tokenizer: Tokenizer, settings: Mapping[str, Any], usual: tuple[str, ...]) -> None:
    """Enter the tokens that are no text: those that the settings give ids, then those that the vocabulary has."""
    added = settings.get("added_tokens_decoder") or {}
    for _, token in sorted(added.items(), key=lambda item: int(item[0])):
        content = AddedToken(_content(token) or "", special=False)
        if token.get("special"):
            tokenizer.add_special_tokens([content])
        else:
            tokenizer.add_tokens([content])
    named = [*(settings.get(name) for name in _NAMES), *(settings.get("additional_special_tokens") or [])]
    names = [*usual, *filter(None, map(_content, named))]
    tokenizer.add_special_tokens([name for name in names if tokenizer.token_to_id(name) is not None])


def _content(token: Any) -> str | None:
    """Return a token's text, which the settings give alone or in an object."""
    value = token.get("content") if isinstance(token, Mapping) else token
    return value if isinstance(value, str) else None
