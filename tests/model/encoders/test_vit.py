import re
from dataclasses import replace
from pathlib import Path

import timm
import torch
from PIL import Image
from pytest import importorskip, mark, raises
from safetensors.torch import save_file

from wordgaze.data.transform import PhotoTransform, Preprocessing
from wordgaze.errors import ConfigError
from wordgaze.model.config import EncoderConfig, VitShape
from wordgaze.model.encoders.build import build_encoder, preprocessing_of

TIMM_NAMES = {
    r"^embeddings\.": "",
    r"^class_embedding": "cls_token",
    r"^distillation_token": "reg_token",
    r"^position_embeddings?": "pos_embed",
    r"^patch_embedding(s\.projection)?": "patch_embed.proj",
    r"^(post_)?layernorm": "norm",
    r"^(encoder\.)?layers": "blocks",
    r"\.(layernorm_before|layer_norm1)": ".norm1",
    r"\.(layernorm_after|layer_norm2)": ".norm2",
    r"\.(attention|self_attn)\.": ".attn.",
    r"\.(o_proj|projection)\.": ".proj.",
}


def test_a_vit_saved_and_loaded_from_file_gives_identical_features(tmp_path, pixels):
    network = timm.create_model("test_vit", pretrained=False).eval()
    save_file(network.state_dict(), tmp_path / "vit.safetensors")
    encoder = build_encoder(EncoderConfig("test_vit"), str(tmp_path / "vit.safetensors")).eval()
    with torch.no_grad():
        assert torch.equal(encoder(pixels), network.forward_features(pixels)[:, 1:])
    assert encoder.grid == (10, 10)


def test_prefix_tokens_stand_first_when_asked_for(pixels):
    torch.manual_seed(0)
    encoder = build_encoder(EncoderConfig("test_vit", prefix_tokens=True)).eval()
    assert encoder.num_prefix == 1
    with torch.no_grad():
        assert torch.equal(encoder(pixels), encoder.network.forward_features(pixels))


def test_position_embeddings_are_resampled_to_another_grid(tmp_path):
    network = timm.create_model("test_vit", pretrained=False)
    save_file(network.state_dict(), tmp_path / "vit.safetensors")
    encoder = build_encoder(EncoderConfig("test_vit", image_size=(96, 128)), str(tmp_path / "vit.safetensors"))
    assert encoder.grid == (6, 8)
    assert encoder(torch.zeros(1, 3, 96, 128)).shape == (1, 48, encoder.width)
    assert torch.equal(encoder.network.blocks[0].mlp.fc1.weight, network.blocks[0].mlp.fc1.weight)


def test_the_shared_vit_knows_a_cat(shared_data):
    weights = shared_data / "weights" / "vit_tiny_patch16_224.safetensors"
    network = timm.create_model(
        "vit_tiny_patch16_224", pretrained=True, pretrained_cfg_overlay={"file": str(weights)}
    ).eval()
    transform = PhotoTransform(Preprocessing(crop="center", **preprocessing_of(network)))
    photo = Image.open(Path(__file__).with_name("cat.jpg")).convert("RGB")
    with torch.no_grad():
        pixel_values = transform(photo)[0][None]
        best = network(pixel_values).softmax(-1)[0].topk(3).indices.tolist()
        encoder = build_encoder(EncoderConfig("vit_tiny_patch16_224"), str(weights)).eval()
        assert torch.equal(encoder(pixel_values), network.forward_features(pixel_values)[:, 1:])
    assert set(best) & {281, 282, 285}  # tabby, tiger cat, Egyptian cat


@mark.parametrize(
    ("kind", "config", "theirs", "ours"),
    [
        ("ViTModel", "ViTConfig", {"qkv_bias": False}, {"qkv_bias": False}),
        ("ViTModel", "ViTConfig", {"hidden_act": "gelu_new"}, {"activation": "gelu_tanh"}),
        ("DeiTModel", "DeiTConfig", {"intermediate_size": 50}, {"num_prefix_tokens": 2, "mlp_width": 50}),
        ("BlipVisionModel", "BlipVisionConfig", {"hidden_act": "relu"}, {"activation": "relu"}),
    ],
)
@mark.parametrize("norm_eps", [1e-12, 0.1])
def test_a_vit_without_a_timm_name_gives_the_numbers_of_transformers(kind, config, theirs, ours, norm_eps):
    transformers = importorskip("transformers")
    torch.manual_seed(0)
    sizes = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3, "image_size": 32}
    sizes |= {"intermediate_size": 102, "patch_size": 8, "layer_norm_eps": norm_eps}
    reference = getattr(transformers, kind)(getattr(transformers, config)(**sizes | theirs)).eval()
    for parameter in reference.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    shape = {"patch_size": 8, "width": 48, "layers": 2, "heads": 3, "mlp_width": 102} | ours
    config = EncoderConfig(kind, (32, 32), prefix_tokens=True, vit=VitShape(**shape), norm_eps=norm_eps)
    encoder = build_encoder(config).eval()
    encoder.load_state_dict(with_timm_names(reference.state_dict()))
    pixels = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = reference(pixels).last_hidden_state
        states = encoder(pixels)
        patches = build_like(encoder, replace(config, prefix_tokens=False))(pixels)
    assert states.shape == (2, encoder.num_prefix + 16, 48) and encoder.grid == (4, 4)
    assert torch.allclose(states, expected, rtol=0, atol=1e-5)
    assert torch.equal(patches, states[:, encoder.num_prefix :])


def build_like(encoder, config):
    other = build_encoder(config).eval()
    other.load_state_dict(encoder.state_dict())
    return other


def with_timm_names(theirs):
    """Return transformers' tensors of a ViT, a DeiT or BLIP's ViT under timm's names."""
    ours = {}
    for name, tensor in theirs.items():
        if name.startswith("pooler."):
            continue
        for pattern, replacement in TIMM_NAMES.items():
            name = re.sub(pattern, replacement, name)
        ours[f"network.{name}"] = tensor
    for name in [name for name in ours if ".q_proj." in name]:
        parts = [ours.pop(name.replace(".q_proj.", f".{part}_proj.")) for part in "qkv"]
        ours[name.replace(".q_proj.", ".qkv.")] = torch.cat(parts)
    return ours


def test_a_shape_needs_weights_of_its_own():
    with raises(ConfigError, match=r"set encoder.pretrained to null"):
        build_encoder(EncoderConfig("mine", (32, 32), vit=VitShape()), "hub")
