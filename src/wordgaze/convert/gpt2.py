"""GPT-2 (Radford et al. 2019) as our decoder: of a captioner, or of a text model to begin training from.

Only the latter is read by transformers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wordgaze.convert.fields import Fields
from wordgaze.convert.recipe import Recipes
from wordgaze.errors import ConfigError, ModelError
from wordgaze.model.config import DecoderConfig
from wordgaze.text.tokenizer import CaptionTokenizer


def gpt2_decoder(fields: Fields) -> tuple[DecoderConfig, Recipes]:
    """Return the decoder of a GPT-2's configuration, and its recipes; raises ModelError for what can't be expressed."""
    for name in ("scale_attn_by_inverse_layer_idx", "reorder_and_upcast_attn"):
        fields.must_be(name, False, False, "attention that is computed so can't be expressed here")
    fields.must_be("add_cross_attention", True, True, "a decoder that looks at no photo writes no captions")
    width, heads, layers = (
        fields.whole("n_embd", 768),
        fields.whole("n_head", 12),
        fields.whole("n_layer", 12),
    )
    if width % heads:
        raise fields.refused("n_embd", f"it does not divide into {heads} heads")
    config = DecoderConfig(
        vocab_size=fields.whole("vocab_size", 50257),
        width=width,
        layers=layers,
        heads=heads,
        mlp_width=fields.whole("n_inner", 4 * width),
        positions=fields.whole("n_positions", 1024),
        dropout=fields.number("resid_pdrop", 0.1),
        norm_eps=fields.number("layer_norm_epsilon", 1e-5),
        activation=fields.activation("activation_function", "gelu_new"),
    )
    # Ours divides scores by the root of a head's width; where GPT-2 does not, its queries are that much larger.
    scaled = fields.flag("scale_attn_weights", True)
    recipes = gpt2_recipes(layers, query_scale=1.0 if scaled else math.sqrt(width // heads))
    if not fields.flag("tie_word_embeddings", True):
        recipes.needed.add("lm_head.weight")
    return config, recipes


def gpt2_config(name: str, dropout: float) -> DecoderConfig:
    """The decoder's sizes, from a Hugging Face GPT-2's configuration (a folder or a hub name)."""
    config = _load(name, "AutoConfig")
    if config.model_type != "gpt2":
        raise ConfigError(f"decoder.pretrained {name} is a {config.model_type}; only GPT-2 models fit this decoder.")
    if config.activation_function not in ("gelu_new", "gelu_pytorch_tanh") or config.scale_attn_by_inverse_layer_idx:
        raise ConfigError(f"decoder.pretrained {name} is a GPT-2 with another activation or scaling; it does not fit.")
    if config.layer_norm_epsilon != 1e-5 or not config.scale_attn_weights or not config.tie_word_embeddings:
        raise ConfigError(f"decoder.pretrained {name} departs from GPT-2 in its norms, scaling or embeddings.")
    return DecoderConfig(
        vocab_size=config.vocab_size,
        width=config.n_embd,
        layers=config.n_layer,
        heads=config.n_head,
        mlp_ratio=(config.n_inner or 4 * config.n_embd) / config.n_embd,
        positions=config.n_positions,
        dropout=dropout,
    )


def gpt2_tokenizer(name: str) -> CaptionTokenizer:
    """GPT-2's tokenizer, which now lower-cases, drops the final stop and gives the first word its space."""
    from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers

    if Path(name).is_dir():
        path = Path(name) / "tokenizer.json"
    else:
        from huggingface_hub import hf_hub_download

        try:
            path = Path(hf_hub_download(name, "tokenizer.json"))
        except Exception as error:  # the hub's errors share no parent
            raise ModelError(f"The tokenizer of {name} can't be had: {error}") from error
    if not path.is_file():
        raise ModelError(f"{name} has no tokenizer.json; save it there with transformers, or set tokenizer.file.")
    tokenizer = Tokenizer.from_file(str(path))
    strip_stop = normalizers.Replace(Regex(r"\s*\.?\s*$"), "")
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Lowercase(), strip_stop, normalizers.Strip()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    return CaptionTokenizer(tokenizer)


def gpt2_weights(name: str) -> dict[str, Tensor]:
    """GPT-2's tensors under our decoder's names; the cross-attention is there only if the checkpoint has it."""
    return convert_gpt2(_load(name, "GPT2LMHeadModel").state_dict())


def convert_gpt2(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a GPT2LMHeadModel under our decoder's names."""
    layers = {name.split(".")[2] for name in state if name.startswith("transformer.h.")}
    cross_attention = any(".crossattention." in name for name in state)
    recipes = gpt2_recipes(len(layers), cross_attention=cross_attention).recipes
    return {target: recipe(state).contiguous() for target, recipe in recipes.items()}


def gpt2_recipes(layers: int, *, cross_attention: bool = True, query_scale: float = 1.0) -> Recipes:
    """Return the recipes of a GPT2LMHeadModel; its Conv1D layers hold (in, out), ours (out, in).

    ``query_scale``: what queries are multiplied by, where the attention's scores are not divided as ours are.
    """
    recipes = Recipes(
        tied={"lm_head.weight": "transformer.wte.weight"},
        # Causal masks, which were saved with the weights for years.
        unused=[r"transformer\.h\.\d+\.(attn|crossattention)\.(bias|masked_bias)"],
    )
    recipes.add("token_embedding.weight", "transformer.wte.weight")
    recipes.add("position_embedding.weight", "transformer.wpe.weight")
    recipes.add_layer("final_norm", "transformer.ln_f")
    kinds = {"self": "attn"} | ({"cross": "crossattention"} if cross_attention else {})
    norms = {"self": "ln_1", "cross": "ln_cross_attn"}
    for index in range(layers):
        block, layer = f"blocks.{index}", f"transformer.h.{index}"
        for ours, theirs in kinds.items():
            sources = [("c_attn", 3, part) for part in range(3)]
            if ours == "cross":
                sources = [("q_attn", 1, 0), ("c_attn", 2, 0), ("c_attn", 2, 1)]
            for name, (source, parts, part) in zip(("query", "key", "value"), sources, strict=True):
                scale = query_scale if name == "query" else 1.0
                take = partial(_part, parts=parts, part=part, scale=scale)
                recipes.add_layer(f"{block}.{ours}_attention.{name}", f"{layer}.{theirs}.{source}", take)
            recipes.add_layer(f"{block}.{ours}_attention.output", f"{layer}.{theirs}.c_proj", _part)
            recipes.add_layer(f"{block}.{ours}_norm", f"{layer}.{norms[ours]}")
        recipes.add_layer(f"{block}.mlp.0", f"{layer}.mlp.c_fc", _part)
        recipes.add_layer(f"{block}.mlp.2", f"{layer}.mlp.c_proj", _part)
        recipes.add_layer(f"{block}.mlp_norm", f"{layer}.ln_2")
    return recipes


def _part(tensor: Tensor, parts: int = 1, part: int = 0, scale: float = 1.0) -> Tensor:
    """Return one of the ``parts`` that a Conv1D holds side by side: a matrix (out, in), or a bias."""
    part_of = (tensor.t() if tensor.ndim == 2 else tensor).chunk(parts)[part]
    return part_of if scale == 1 else part_of * scale


def load_gpt2(decoder: torch.nn.Module, name: str) -> None:
    """Copies GPT-2's weights into ``decoder``; what GPT-2 lacks, the cross-attention, stays as it was drawn."""
    missing, unexpected = decoder.load_state_dict(gpt2_weights(name), strict=False)
    strange = [key for key in missing if ".cross_" not in key] + list(unexpected)
    if strange:
        raise ModelError(f"The weights of {name} do not fit a GPT-2 decoder: {', '.join(strange[:3])}.")


def _load(name: str, kind: str) -> Any:
    try:
        import transformers
    except ImportError:
        raise ModelError('decoder.pretrained needs transformers: pip install "wordgaze[gpt2]".') from None
    try:
        return getattr(transformers, kind).from_pretrained(name)
    except (OSError, ValueError) as error:
        raise ModelError(f"decoder.pretrained {name} can't be loaded: {str(error).splitlines()[0]}") from error
