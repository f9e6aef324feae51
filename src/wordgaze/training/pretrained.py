"""A decoder that starts from GPT-2's weights (Radford et al. 2019); only here is transformers imported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wordgaze.errors import ConfigError, ModelError
from wordgaze.model.config import DecoderConfig
from wordgaze.text.tokenizer import CaptionTokenizer


def gpt2_config(name: str, dropout: float) -> DecoderConfig:
    """The decoder's sizes, from a Hugging Face GPT-2's configuration (a folder or a hub name)."""
    config = _load(name, "AutoConfig")
    if config.model_type != "gpt2":
        raise ConfigError(
            f"decoder.pretrained {name} is a {config.model_type}; only GPT-2 models fit this decoder."
        )
    if (
        config.activation_function not in ("gelu_new", "gelu_pytorch_tanh")
        or config.scale_attn_by_inverse_layer_idx
    ):
        raise ConfigError(
            f"decoder.pretrained {name} is a GPT-2 with another activation or scaling; it does not fit."
        )
    if config.layer_norm_epsilon != 1e-5 or not config.scale_attn_weights or not config.tie_word_embeddings:
        raise ConfigError(
            f"decoder.pretrained {name} departs from GPT-2 in its norms, scaling or embeddings."
        )
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
        raise ModelError(
            f"{name} has no tokenizer.json; save it there with transformers, or set tokenizer.file."
        )
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


def convert_gpt2(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """transformers' names → ours; its Conv1D layers hold (in, out), ours (out, in)."""
    ours = {
        "token_embedding.weight": state["transformer.wte.weight"],
        "position_embedding.weight": state["transformer.wpe.weight"],
    }
    for kind in ("weight", "bias"):
        ours[f"final_norm.{kind}"] = state[f"transformer.ln_f.{kind}"]
    norms = {"ln_1": "self_norm", "ln_cross_attn": "cross_norm", "ln_2": "mlp_norm"}
    linears = {
        "attn.c_attn": [f"self_attention.{part}" for part in ("query", "key", "value")],
        "attn.c_proj": ["self_attention.output"],
        "crossattention.q_attn": ["cross_attention.query"],
        "crossattention.c_attn": [f"cross_attention.{part}" for part in ("key", "value")],
        "crossattention.c_proj": ["cross_attention.output"],
        "mlp.c_fc": ["mlp.0"],
        "mlp.c_proj": ["mlp.2"],
    }
    for name, tensor in state.items():
        if not name.startswith("transformer.h."):
            continue
        _, _, layer, rest = name.split(".", 3)
        module, kind = rest.rsplit(".", 1)
        if module in norms:
            ours[f"blocks.{layer}.{norms[module]}.{kind}"] = tensor
        elif module in linears and kind in ("weight", "bias"):
            parts = (tensor.t() if kind == "weight" else tensor).chunk(len(linears[module]))
            for target, part in zip(linears[module], parts, strict=True):
                ours[f"blocks.{layer}.{target}.{kind}"] = part.contiguous()
    return ours


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
        raise ModelError(
            f"decoder.pretrained {name} can't be loaded: {str(error).splitlines()[0]}"
        ) from error
