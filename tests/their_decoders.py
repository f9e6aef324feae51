"""Decoders of transformers with weights that matter, and what ours is for the same numbers."""

import re

import torch

from wordgaze.convert.gpt2 import convert_gpt2
from wordgaze.model.config import DecoderConfig
from wordgaze.model.decoder import Decoder

GPT2 = {}
BERT = {"norm": "post", "norm_eps": 1e-12, "activation": "gelu", "embedding_norm": True, "head": "bert"}
BLIP = BERT | {"source_width": 48}
BERT_NAMES = {
    r"bert\.embeddings\.word_embeddings": "token_embedding",
    r"bert\.embeddings\.position_embeddings": "position_embedding",
    r"bert\.embeddings\.LayerNorm": "embedding_norm",
    r"bert\.encoder\.layer": "blocks",
    r"crossattention\.output\.LayerNorm": "cross_norm",
    r"attention\.output\.LayerNorm": "self_norm",
    r"crossattention\.output\.dense": "cross_attention.output",
    r"crossattention\.self": "cross_attention",
    r"attention\.output\.dense": "self_attention.output",
    r"attention\.self": "self_attention",
    r"intermediate\.dense": "mlp.0",
    r"\boutput\.dense": "mlp.2",
    r"\boutput\.LayerNorm": "mlp_norm",
    r"cls\.predictions\.transform\.dense": "head.0",
    r"cls\.predictions\.transform\.LayerNorm": "head.2",
    r"cls\.predictions\.bias": "logits_bias",
}


def same_decoders(make, theirs, ours):
    """Return a decoder of transformers, its weights moved, and ours with the same weights."""
    torch.manual_seed(0)
    reference, convert = make(**theirs)
    for parameter in reference.eval().parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    shape = {"vocab_size": 50, "width": 48, "layers": 3, "heads": 4, "positions": 20, "mlp_width": 100}
    decoder = Decoder(DecoderConfig(**shape | ours)).eval()
    decoder.load_state_dict(convert(reference.state_dict()))
    return reference, decoder


def gpt2(**changes):
    import transformers

    values = {"n_inner": 100, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5} | changes
    config = transformers.GPT2Config(
        vocab_size=50, n_positions=20, n_embd=48, n_layer=3, n_head=4, add_cross_attention=True, **values
    )
    config._attn_implementation = "eager"
    return transformers.GPT2LMHeadModel(config), convert_gpt2


def bert(**changes):
    import transformers

    return _bert(transformers.BertConfig, transformers.BertLMHeadModel, **changes)


def blip(**changes):
    import transformers
    from transformers.models.blip.modeling_blip_text import BlipTextLMHeadModel

    return _bert(transformers.BlipTextConfig, BlipTextLMHeadModel, **changes)


def _bert(config_type, model_type, **changes):
    config = config_type(
        **{"vocab_size": 50, "max_position_embeddings": 20, "hidden_size": 48, "num_hidden_layers": 3},
        **{"num_attention_heads": 4, "intermediate_size": 100, "is_decoder": True},
        **{"add_cross_attention": True, "bos_token_id": 1, "sep_token_id": 2} | changes,
    )
    config._attn_implementation = "eager"
    return model_type(config), convert_bert


def convert_bert(state):
    ours = {}
    for name, tensor in state.items():
        if "token_type" in name or name.startswith("cls.predictions.decoder"):
            continue
        for pattern, replacement in BERT_NAMES.items():
            name = re.sub(pattern, replacement, name)
        ours[name] = tensor.clone()
    types = state.get("bert.embeddings.token_type_embeddings.weight")
    if types is not None:
        ours["position_embedding.weight"] += types[0]
    return ours
