"""A GPT-2 of two layers, to start a decoder from."""

from __future__ import annotations

from pathlib import Path

import pytest


def tiny_gpt2(folder: Path) -> Path:
    """Write a GPT-2 of two layers, with a tokenizer, in the place of the hub's."""
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=280, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(["a red circle above a blue square"] * 3, trainer)
    size = tokenizer.get_vocab_size()
    config = transformers.GPT2Config(vocab_size=size, n_positions=32, n_embd=32, n_layer=2, n_head=4)
    transformers.GPT2LMHeadModel(config).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder
