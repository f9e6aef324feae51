from dataclasses import replace

import timm
import torch
from PIL import Image
from pytest import fixture, mark, raises
from safetensors.torch import save_file

from wordgaze.data.transform import PhotoTransform, Preprocessing
from wordgaze.errors import ConfigError, ModelError
from wordgaze.model.caption_model import CaptionModel
from wordgaze.model.config import CaptionModelConfig, DecoderConfig, EncoderConfig
from wordgaze.model.encoder import build_encoder, chosen, preprocessing_of
from wordgaze.training.optimizer import freeze_encoder


@fixture
def pixels():
    torch.manual_seed(0)
    return torch.randn(2, 3, 160, 160)


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
    encoder = build_encoder(
        EncoderConfig("test_vit", image_size=(96, 128)), str(tmp_path / "vit.safetensors")
    )
    assert encoder.grid == (6, 8)
    assert encoder(torch.zeros(1, 3, 96, 128)).shape == (1, 48, encoder.width)
    assert torch.equal(encoder.network.blocks[0].mlp.fc1.weight, network.blocks[0].mlp.fc1.weight)


@mark.parametrize("name", ["test_efficientnet", "test_resnet"])
def test_any_feature_map_becomes_patches(name, pixels):
    encoder = build_encoder(EncoderConfig(name, features="map", blocks=2, width=32, heads=4)).eval()
    with torch.no_grad():
        patches = encoder(pixels)
    assert patches.shape == (2, encoder.grid[0] * encoder.grid[1], 32)
    assert not torch.allclose(patches[0], patches[1])


@mark.parametrize(
    ("config", "counts"),
    [
        (EncoderConfig("test_vit"), range(8)),
        (EncoderConfig("test_efficientnet", features="map", blocks=2, width=32, heads=4), range(1, 5)),
    ],
)
def test_beginning_and_finishing_is_the_whole(config, counts, pixels):
    encoder = build_encoder(config).eval()
    for parameter in encoder.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    with torch.no_grad():
        whole = encoder(pixels)
        for count in counts:
            assert torch.allclose(encoder.finish(encoder.begin(pixels, count), count), whole, atol=1e-5)


PAIRED = EncoderConfig("test_vit", beside="test_efficientnet", width=48)


def test_what_a_second_network_sees_is_added_to_the_patches(tmp_path, pixels):
    for name in ("test_vit", "test_efficientnet"):
        save_file(timm.create_model(name).state_dict(), tmp_path / f"{name}.safetensors")
    files = [str(tmp_path / f"{name}.safetensors") for name in ("test_vit", "test_efficientnet")]
    encoder = build_encoder(PAIRED, *files).eval()
    vit = build_encoder(EncoderConfig("test_vit"), files[0]).eval()
    pretrained = {"pretrained": True, "pretrained_cfg_overlay": {"file": files[1]}}
    network = timm.create_model("test_efficientnet", **pretrained).eval()
    maps = timm.create_model("test_efficientnet", features_only=True, out_indices=(-2,), **pretrained).eval()

    def normed(feature_map):
        return torch.nn.functional.layer_norm(feature_map.movedim(1, -1), feature_map.shape[1:2])

    with torch.no_grad():
        fine, last = maps(pixels)[0], network.forward_features(pixels)
        assert fine.shape[2:] == encoder.grid == (10, 10) and last.shape[2:] == (5, 5)
        of_vit, of_fine, of_last = encoder.projections
        coarse = torch.nn.functional.interpolate(
            of_last(normed(last)).movedim(-1, 1), (10, 10), mode="bilinear"
        )
        expected = of_vit(vit(pixels)) + of_fine(normed(fine)).flatten(1, 2)
        expected = expected + coarse.flatten(2).transpose(1, 2)
        found = encoder(pixels)
    assert torch.allclose(found, expected, atol=1e-5)
    assert found.shape == (2, 100, 48) and encoder.width == 48


def test_a_second_networks_batch_norms_keep_their_statistics(pixels):
    encoder = build_encoder(PAIRED).train()
    before = {name: value.clone() for name, value in encoder.beside.named_buffers()}
    encoder(pixels)
    assert all(torch.equal(value, before[name]) for name, value in encoder.beside.named_buffers())
    assert encoder.network.training


@mark.parametrize(
    ("beside", "blocks"), [("test_efficientnet", 0), ("test_efficientnet", 2), ("test_resnet", 0)]
)
def test_two_networks_begun_and_finished_are_the_whole(beside, blocks, pixels):
    encoder = build_encoder(replace(PAIRED, beside=beside, blocks=blocks)).eval()
    for parameter in encoder.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    layers = encoder.layers()
    parts = [*layers, *encoder.after_layers()]
    inside = {id(parameter) for part in parts for parameter in part.parameters()}
    before_blocks = {"network.cls_token", "network.pos_embed", "network.reg_token"}
    left_out = {name for name, parameter in encoder.named_parameters() if id(parameter) not in inside}
    assert all(name in before_blocks or name.startswith("network.patch_embed") for name in left_out)
    with torch.no_grad():
        for count in range(1, len(layers) + 2):
            begun = encoder.begin(pixels, count)
            assert torch.allclose(encoder.finish(begun, count), encoder(pixels), atol=1e-4), count


KEPT = [
    EncoderConfig("test_vit"),
    EncoderConfig("test_vit", prefix_tokens=True),
    EncoderConfig("test_vit_relpos"),
    EncoderConfig("test_efficientnet", features="map", blocks=1, width=32, heads=4),
    replace(PAIRED, blocks=1),
]


@mark.parametrize("config", KEPT, ids=lambda config: f"{config.name}-{config.beside}")
def test_only_kept_patches_go_on(config, pixels):
    """As if the network had been shown the photo without the others, each with its own place."""
    encoder = build_encoder(config).eval()
    for parameter in encoder.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    patches = encoder.grid[0] * encoder.grid[1]
    everything = torch.arange(patches).flip(0).expand(2, -1)
    with torch.no_grad():
        whole, backwards = encoder(pixels), encoder(pixels, everything)
        prefix = encoder.num_prefix
        assert torch.allclose(backwards[:, prefix:].flip(1), whole[:, prefix:], atol=1e-4)
        kept = torch.stack((everything[0, :5], everything[1, 3:8]))
        some = encoder(pixels, kept)
        assert some.shape == (2, prefix + 5, encoder.width)
        alone = encoder(pixels[1:], kept[1:])
        assert torch.allclose(some[1:], alone, atol=1e-4)
        left_out_before = not torch.allclose(some, chosen(whole, kept, prefix), atol=1e-3)
    assert left_out_before == (not config.name.startswith("test_vit_relpos"))  # whose forward is not ours


def test_the_upper_part_of_a_second_network_learns_from_the_lower_ones_maps(pixels):
    config = CaptionModelConfig(PAIRED, DecoderConfig(vocab_size=10, width=48, heads=4))
    model = CaptionModel(config).train()
    vit_and_lower = len(model.encoder.layers()) - 1
    assert freeze_encoder(model, vit_and_lower) == vit_and_lower
    with torch.no_grad():
        begun = model.encoder.begin(pixels, vit_and_lower)
    model.encode_frozen(begun, vit_and_lower).sum().backward()
    learning = {name for name, value in model.encoder.named_parameters() if value.grad is not None}
    upper = {name for name in learning if name.startswith("beside.")}
    assert {name.split(".")[1] for name in upper} == {"blocks", "conv_head", "bn2"}
    assert {name.split(".")[2] for name in upper if "blocks" in name} == {"4"}  # of 0 to 4
    assert {name.split(".")[0] for name in learning - upper} == {"network", "beside_norms", "projections"}
    assert {name for name in learning if name.startswith("network.")} == {
        "network.norm.weight",
        "network.norm.bias",
    }


def test_a_map_that_a_second_network_has_not():
    with raises(ConfigError, match="beside_maps"):
        build_encoder(replace(PAIRED, beside_maps=(9,)))


@mark.parametrize("width", [32, 64])  # the second is the encoder's: no bridge before it grows
def test_a_model_grows_without_forgetting(width, pixels):
    config = CaptionModelConfig(EncoderConfig("test_vit"), DecoderConfig(vocab_size=10, width=width, heads=4))
    model = CaptionModel(config).eval()
    paired = model.grown(PAIRED).eval()
    with torch.no_grad():
        assert torch.allclose(paired.encode(pixels), model.encode(pixels), atol=1e-6)
        assert not torch.equal(paired.encoder(pixels)[0], paired.encoder(pixels)[1])
    finer = model.grown(EncoderConfig("test_vit", image_size=(192, 192))).eval()
    assert finer.grid == (12, 12)
    assert torch.equal(
        finer.encoder.network.blocks[0].mlp.fc1.weight, model.encoder.network.blocks[0].mlp.fc1.weight
    )
    row = model.encoder.network.pos_embed[0, 1:].view(10, 10, -1).mean(dim=(0, 1))
    resampled = finer.encoder.network.pos_embed[0, 1:].view(12, 12, -1).mean(dim=(0, 1))
    assert torch.allclose(row, resampled, atol=1e-2)
    deeper = replace(paired.config.encoder, blocks=2)
    with torch.no_grad():
        mixed = paired.grown(deeper)
        assert torch.allclose(mixed.eval().encode(pixels), paired.encode(pixels), atol=1e-6)
        assert mixed.encoder.blocks[0].attn.num_heads == 4  # the decoder's
        mixed.encoder.blocks[1].mlp.fc2.weight.normal_()
        deepest = mixed.grown(replace(deeper, blocks=3)).eval()
        assert torch.allclose(deepest.encode(pixels), mixed.encode(pixels), atol=1e-6)
    with raises(ConfigError, match="The model has 2 blocks"):
        mixed.grown(replace(deeper, blocks=1))
    assert model.grown(model.config.encoder, dropout=0.3).decoder.blocks[0].dropout.p == 0.3
    with raises(ConfigError, match="test_efficientnet beside its ViT already"):
        paired.grown(replace(PAIRED, beside="test_resnet"))


@mark.parametrize(
    ("config", "weights", "error", "words"),
    [
        (EncoderConfig("vit_enormous"), None, ConfigError, "no network called"),
        (EncoderConfig("test_efficientnet"), None, ConfigError, "set encoder.features to 'map'"),
        (EncoderConfig("test_vit"), "nowhere.safetensors", ModelError, "do not exist"),
    ],
)
def test_what_can_not_be_built_is_said(config, weights, error, words):
    with raises(error, match=words):
        build_encoder(config, weights)


def test_a_damaged_weight_file_is_said(tmp_path):
    (tmp_path / "junk.safetensors").write_bytes(b"junk" * 100)
    with raises(ModelError, match="can't be taken from"):
        build_encoder(EncoderConfig("test_vit"), str(tmp_path / "junk.safetensors"))


def test_the_bridge_is_there_only_where_widths_differ():
    config = CaptionModelConfig(EncoderConfig("test_vit"), DecoderConfig(vocab_size=10, width=64, heads=4))
    assert isinstance(CaptionModel(config).bridge, torch.nn.Identity)
    config = CaptionModelConfig(EncoderConfig("test_vit"), DecoderConfig(vocab_size=10, width=32, heads=4))
    model = CaptionModel(config)
    assert model.encode(torch.zeros(1, 3, 160, 160)).shape == (1, 100, 32)
    assert model.preprocessing_defaults()["size"] == (160, 160)


def test_the_shared_vit_knows_a_cat(shared_data):
    weights = shared_data / "weights" / "vit_tiny_patch16_224.safetensors"
    network = timm.create_model(
        "vit_tiny_patch16_224", pretrained=True, pretrained_cfg_overlay={"file": str(weights)}
    ).eval()
    transform = PhotoTransform(Preprocessing(crop="center", **preprocessing_of(network)))
    photo = Image.open("demo/cat.jpg").convert("RGB")
    with torch.no_grad():
        pixel_values = transform(photo)[0][None]
        best = network(pixel_values).softmax(-1)[0].topk(3).indices.tolist()
        encoder = build_encoder(EncoderConfig("vit_tiny_patch16_224"), str(weights)).eval()
        assert torch.equal(encoder(pixel_values), network.forward_features(pixel_values)[:, 1:])
    assert set(best) & {281, 282, 285}  # tabby, tiger cat, Egyptian cat


def test_config_survives_json_and_refuses_what_it_does_not_know():
    import json

    config = CaptionModelConfig(EncoderConfig("test_vit", image_size=(96, 96)), DecoderConfig(vocab_size=7))
    values = json.loads(json.dumps(config.to_dict()))
    assert CaptionModelConfig.from_dict(values) == config
    with raises(ConfigError, match="format_version"):
        CaptionModelConfig.from_dict(values | {"format_version": 99})
    values["decoder"]["rotary"] = True
    with raises(ConfigError, match="rotary"):
        CaptionModelConfig.from_dict(values)


@mark.parametrize(
    ("kind", "values"),
    [
        (DecoderConfig, {"width": 30, "heads": 4}),
        (DecoderConfig, {"layers": 0}),
        (EncoderConfig, {"features": "x"}),
        (EncoderConfig, {"features": "map", "beside": "resnet18"}),
        (EncoderConfig, {"prefix_tokens": True, "beside": "resnet18"}),
    ],
)
def test_impossible_sizes_are_refused_when_made(kind, values):
    with raises(ConfigError):
        kind(**values)
