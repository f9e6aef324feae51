"""Writes small checkpoints with random weights, as transformers saves them: to convert, to look at, to test by.

    python -m scripts.experiments.tiny_checkpoints OUT

writes ``OUT/blip``, ``OUT/vit-gpt2``, ``OUT/deit-bert`` and ``OUT/vit-roberta``, each with a tokenizer and an image
processor. Their captions mean nothing, but differ from photo to photo.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

_TEXT = (
    "a the two man woman dog cat horse bird red blue green small large on in under near with sits runs stands eats "
    "plays holds table grass street beach ball kite bench snow water ' s . , - t shirt"
)
WORDS = _TEXT.split()
PIECES = ["##s", "##ing", "##ed", "##er", "##board", "##ball"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def word_piece() -> Tokenizer:
    """Return a WordPiece tokenizer as BERT's, with a vocabulary of a few words."""
    vocabulary = {token: index for index, token in enumerate([*SPECIAL, *WORDS, *PIECES])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(SPECIAL)
    return tokenizer


def byte_level(special: list[str]) -> Tokenizer:
    """Return a byte-level BPE tokenizer as GPT-2's and RoBERTa's, trained on a few words."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=340,
        special_tokens=special,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([f" {word}" for word in WORDS], trainer)
    return tokenizer


def blip(folder: Path, seed: int = 0, text: dict[str, Any] | None = None, readable: bool = False, **vision: Any) -> Any:
    """Write a BLIP and return it; ``text`` and ``vision``: fields of its two configurations.

    ``readable``: whether it mostly writes whole words.
    """
    import transformers

    tokenizer = word_piece()
    entries = tokenizer.get_vocab_size()
    config = transformers.BlipConfig(
        text_config={
            **{"hidden_size": 32, "intermediate_size": 56, "num_hidden_layers": 2, "num_attention_heads": 4},
            **{"vocab_size": entries + 2, "max_position_embeddings": 40, "pad_token_id": 0},
            # As the published ones: a start token without an entry, and an eos_token_id that is not the end.
            **{"bos_token_id": entries, "sep_token_id": SPECIAL.index("[SEP]"), "eos_token_id": 2},
            **(text or {}),
        },
        vision_config={
            **{"hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 4},
            **{"image_size": 48, "patch_size": 8},
            **vision,
        },
    )
    model = _write(
        folder,
        transformers.BlipForConditionalGeneration,
        config,
        SPECIAL.index("[SEP]"),
        seed,
        _pieces(tokenizer) if readable else (),
    )
    size = model.config.vision_config.image_size
    processor = transformers.BlipImageProcessor(size={"height": size, "width": size})
    processor.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    _settings(folder, "BertTokenizer", clean_up_tokenization_spaces=True)
    return model


def vision_encoder_decoder(
    folder: Path,
    encoder: str = "vit",
    decoder: str = "gpt2",
    seed: int = 0,
    text: dict[str, Any] | None = None,
    readable: bool = False,
    **vision: Any,
) -> Any:
    """Write a VisionEncoderDecoderModel and return it; as :func:`blip`."""
    import transformers

    kinds = {"vit": transformers.ViTConfig, "deit": transformers.DeiTConfig}
    encoder_config = kinds[encoder](
        **{
            **{"hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 4},
            **{"image_size": 48, "patch_size": 8},
            **vision,
        }
    )
    tokenizer, ids, settings = _TOKENIZERS[decoder]()
    vocab_size = tokenizer.get_vocab_size()
    if decoder == "gpt2":
        sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 40}
        ends = {"bos_token_id": ids[0], "eos_token_id": ids[1]}
        decoder_config = transformers.GPT2Config(**{"vocab_size": vocab_size, **sizes, **ends, **(text or {})})
    else:
        kind = {"bert": transformers.BertConfig, "roberta": transformers.RobertaConfig}[decoder]
        decoder_config = kind(
            **{
                **{
                    "hidden_size": 32,
                    "intermediate_size": 56,
                    "num_hidden_layers": 2,
                    "num_attention_heads": 4,
                },
                **{"vocab_size": vocab_size, "max_position_embeddings": 40, "pad_token_id": ids[2]},
                **(text or {}),
            }
        )
    config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder_config, decoder_config)
    config.decoder_start_token_id, config.eos_token_id, config.pad_token_id = ids
    pieces = _pieces(tokenizer) if readable else ()
    model = _write(folder, transformers.VisionEncoderDecoderModel, config, ids[1], seed, pieces)
    size = encoder_config.image_size
    processors = {"vit": transformers.ViTImageProcessor, "deit": transformers.DeiTImageProcessor}
    sizes = {"size": {"height": size, "width": size}}
    if encoder == "deit":
        sizes = {"size": {"height": size + 8, "width": size + 8}, "crop_size": sizes["size"]}
    processors[encoder](**sizes).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    _settings(folder, **settings)
    return model


@torch.no_grad()
def end_sooner(model: Any, end_id: int, by: float) -> None:
    """Raise the logit of the end, whatever the caption says."""
    decoder = model.text_decoder if hasattr(model, "text_decoder") else model.decoder
    if hasattr(decoder, "transformer"):  # GPT-2's head has no bias
        end = decoder.transformer.wte.weight[end_id]
        decoder.transformer.ln_f.bias += by * end / end.square().sum()
    else:
        head = decoder.cls.predictions if hasattr(decoder, "cls") else decoder.lm_head
        head.bias[end_id] += by


def _write(folder: Path, kind: Any, config: Any, end_id: int, seed: int, seldom: Sequence[int] = ()) -> Any:
    """Save a model whose weights are all moved at random, far enough that words and patches matter.

    Captions have several lengths: a random model hardly ever ends. ``seldom``: ids that it hardly ever writes.
    """
    torch.manual_seed(seed)
    model = kind(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            scale = 0.3 if "cross" in name and parameter.ndim == 2 else 0.2
            parameter += scale * torch.randn_like(parameter)
        if seldom:
            model.get_input_embeddings().weight[list(seldom)] = 0
    end_sooner(model, end_id, 1.5)
    model.save_pretrained(folder)
    path = folder / "generation_config.json"
    search = {"num_beams": 3, "min_length": 6, "max_length": 12, "no_repeat_ngram_size": 2}
    path.write_text(json.dumps(json.loads(path.read_text()) | search))
    return model


def _pieces(tokenizer: Tokenizer) -> list[int]:
    """Return the ids that begin no word."""
    special, words = tokenizer.get_added_tokens_decoder(), isinstance(tokenizer.model, models.WordPiece)
    return [
        index
        for token, index in tokenizer.get_vocab().items()
        if index not in special and (token.startswith("##") if words else not token.startswith("Ġ"))
    ]


def _settings(folder: Path, tokenizer_class: str, **values: Any) -> None:
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": tokenizer_class, **values}))


def _gpt2() -> tuple[Tokenizer, tuple[int, int, int], dict[str, Any]]:
    # Start, end and padding are one id, as GPT-2's.
    return byte_level(["<|endoftext|>"]), (0, 0, 0), {"tokenizer_class": "GPT2Tokenizer"}


def _bert() -> tuple[Tokenizer, tuple[int, int, int], dict[str, Any]]:
    tokenizer = word_piece()
    ids = tuple(SPECIAL.index(name) for name in ("[CLS]", "[SEP]", "[PAD]"))
    return tokenizer, ids, {"tokenizer_class": "BertTokenizer"}  # type: ignore[return-value]


def _roberta() -> tuple[Tokenizer, tuple[int, int, int], dict[str, Any]]:
    tokenizer = byte_level(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    return tokenizer, (0, 2, 1), {"tokenizer_class": "RobertaTokenizer"}


_TOKENIZERS: dict[str, Callable[[], tuple[Tokenizer, tuple[int, int, int], dict[str, Any]]]] = {
    "gpt2": _gpt2,
    "bert": _bert,
    "roberta": _roberta,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", type=Path, help="the folder to write them into")
    out = parser.parse_args().out
    blip(out / "blip", readable=True)
    for encoder, decoder in (("vit", "gpt2"), ("deit", "bert"), ("vit", "roberta")):
        vision_encoder_decoder(out / f"{encoder}-{decoder}", encoder, decoder, readable=True)


if __name__ == "__main__":
    main()
