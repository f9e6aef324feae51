"""A decoder of ours as one of transformers: the same weights, and the same search by ``generate``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

# Before transformers, which imports torchvision.
from wordgaze import compat as compat

# isort: split
from torch import Tensor

from wordgaze.convert.bert import bert_body, bert_head
from wordgaze.convert.recipe import Recipes
from wordgaze.generation.options import GenerationOptions
from wordgaze.model.config import DecoderConfig
from wordgaze.model.decoder import Decoder
from wordgaze.text.tokenizer import SpecialIds

_ACTIVATIONS = {"gelu": "gelu", "gelu_tanh": "gelu_new", "relu": "relu", "silu": "silu", "tanh": "tanh"}
_TRANSFORM = "cls.predictions.transform"


class TransformersDecoder:
    """A decoder with cross-attention of transformers, which writes captions of encoder states by its ``generate``."""

    def __init__(self, model: Any, ids: SpecialIds) -> None:
        self.model = model.eval()
        self._ids = ids

    @torch.inference_mode()
    def generate(self, encoder_hidden_states: Tensor, options: GenerationOptions) -> list[list[int]]:
        """Return the ids of each photo's best caption, from the start token to the end, if it has one."""
        ids = self._ids
        start = torch.full((len(encoder_hidden_states), 1), ids.bos_id, device=encoder_hidden_states.device)
        # These mean nothing to greedy search, and it says so.
        of_beams = {"length_penalty": options.length_penalty, "early_stopping": options.early_stopping}
        output = self.model.generate(
            input_ids=start,
            encoder_hidden_states=encoder_hidden_states,
            attention_mask=torch.ones_like(start),
            num_beams=options.num_beams,
            max_new_tokens=options.max_length,
            # Theirs does not count the end.
            min_new_tokens=max(options.min_length - 1, 0),
            no_repeat_ngram_size=options.no_repeat_ngram_size,
            # Ours never writes them.
            suppress_tokens=sorted({ids.bos_id, ids.pad_id} - {ids.eos_id}) or None,
            bos_token_id=ids.bos_id,
            eos_token_id=ids.eos_id,
            pad_token_id=ids.pad_id,
            do_sample=False,
            **(of_beams if options.num_beams > 1 else {}),
        )
        return [_until(row, ids.eos_id) for row in output.tolist()]


def transformers_decoder(decoder: Decoder, ids: SpecialIds) -> TransformersDecoder | None:
    """Return the decoder of transformers with these weights.

    None where transformers is not installed, or has no decoder of this shape: it has GPT-2's, with norms before each
    part, and BLIP's, with norms after it.
    """
    try:
        import transformers  # noqa: F401
    except ImportError:
        return None
    config = decoder.config
    device = decoder.token_embedding.weight.device
    weights = {name: tensor.detach() for name, tensor in decoder.state_dict().items()}
    special = {"bos_token_id": ids.bos_id, "eos_token_id": ids.eos_id, "pad_token_id": ids.pad_id}
    if config.norm == "pre" and config.head == "tied" and not config.embedding_norm and config.source_width is None:
        model = _gpt2(config, weights, special)
    elif config.norm == "post" and config.head == "bert" and config.embedding_norm and config.head_activation is None:
        model = _blip(config, weights, special)
    else:
        return None
    return TransformersDecoder(model.to(device), ids)


def _gpt2(config: DecoderConfig, weights: dict[str, Tensor], special: dict[str, int]) -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=config.vocab_size,
            n_positions=config.positions,
            n_embd=config.width,
            n_layer=config.layers,
            n_head=config.heads,
            n_inner=_mlp_width(config),
            activation_function=_ACTIVATIONS[config.activation],
            layer_norm_epsilon=config.norm_eps,
            add_cross_attention=True,
            **special,
        )
    )
    _load(model, gpt2_tensors(config.layers, weights), unused=["attn.bias", "attn.masked_bias", "lm_head.weight"])
    return model


def gpt2_tensors(layers: int, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return our tensors under GPT-2's names; its Conv1D layers hold (in, out), several of ours side by side."""
    theirs = {
        "transformer.wte.weight": weights["token_embedding.weight"],
        "transformer.wpe.weight": weights["position_embedding.weight"],
    }
    sources = {"transformer.ln_f": ["final_norm"]}
    for index in range(layers):
        layer, block = f"transformer.h.{index}", f"blocks.{index}"
        own, cross = f"{block}.self_attention", f"{block}.cross_attention"
        sources |= {
            f"{layer}.ln_1": [f"{block}.self_norm"],
            f"{layer}.attn.c_attn": [f"{own}.query", f"{own}.key", f"{own}.value"],
            f"{layer}.attn.c_proj": [f"{own}.output"],
            f"{layer}.ln_cross_attn": [f"{block}.cross_norm"],
            f"{layer}.crossattention.q_attn": [f"{cross}.query"],
            f"{layer}.crossattention.c_attn": [f"{cross}.key", f"{cross}.value"],
            f"{layer}.crossattention.c_proj": [f"{cross}.output"],
            f"{layer}.ln_2": [f"{block}.mlp_norm"],
            f"{layer}.mlp.c_fc": [f"{block}.mlp.0"],
            f"{layer}.mlp.c_proj": [f"{block}.mlp.2"],
        }
    for target, parts in sources.items():
        for kind in ("weight", "bias"):
            # (out, in) one below the other, then turned; a norm or a bias is a row as it is.
            joined = torch.cat([weights[f"{part}.{kind}"] for part in parts])
            theirs[f"{target}.{kind}"] = joined.t().contiguous() if joined.ndim == 2 else joined
    return theirs


def _blip(config: DecoderConfig, weights: dict[str, Tensor], special: dict[str, int]) -> Any:
    from transformers import BlipTextConfig
    from transformers.models.blip.modeling_blip_text import BlipTextLMHeadModel

    model = BlipTextLMHeadModel(
        BlipTextConfig(
            vocab_size=config.vocab_size,
            max_position_embeddings=config.positions,
            hidden_size=config.width,
            encoder_hidden_size=config.states_width,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            intermediate_size=_mlp_width(config),
            hidden_act=_ACTIVATIONS[config.activation],
            layer_norm_eps=config.norm_eps,
            is_decoder=True,
            add_cross_attention=True,
            **special,
        )
    )
    recipes = Recipes()
    recipes.include(bert_body(config.layers, token_types=False), "", "bert.")
    recipes.include(
        bert_head(f"{_TRANSFORM}.dense", f"{_TRANSFORM}.LayerNorm", "cls.predictions.decoder", "cls.predictions.bias"),
        "",
        "",
    )
    # BLIP's recipes take each tensor as it is, so they can be read backwards.
    theirs = {recipe.sources[0]: weights[target] for target, recipe in recipes.recipes.items()}
    _load(model, theirs, unused=["position_ids", "cls.predictions.decoder.weight", "cls.predictions.decoder.bias"])
    return model


def _load(model: Any, tensors: dict[str, Tensor], unused: Sequence[str]) -> None:
    """Give ``model`` its tensors; ``unused``: ends of the names of those that it ties, or does not learn."""
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    strange = [name for name in missing if not name.endswith(tuple(unused))]
    assert not strange and not unexpected, (strange, unexpected)
    model.tie_weights()


def _mlp_width(config: DecoderConfig) -> int:
    return config.mlp_width or int(config.width * config.mlp_ratio)


def _until(row: list[int], eos_id: int) -> list[int]:
    """Return a row up to its first end after the start."""
    return row[: row.index(eos_id, 1) + 1] if eos_id in row[1:] else row
