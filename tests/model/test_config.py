import json

from pytest import mark, raises

from wordgaze.errors import ConfigError
from wordgaze.model.config import CaptionModelConfig, DecoderConfig, EncoderConfig, VitShape


def test_config_survives_json_and_refuses_what_it_does_not_know():
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
        (EncoderConfig, {"vit": VitShape()}),
        (EncoderConfig, {"vit": VitShape(), "features": "map", "image_size": (32, 32)}),
        (EncoderConfig, {"norm_eps": 0}),
        (VitShape, {"width": 30, "heads": 4}),
        (VitShape, {"activation": "softmax"}),
        (VitShape, {"num_prefix_tokens": -1}),
        (DecoderConfig, {"norm": "middle"}),
        (DecoderConfig, {"norm_eps": 0.0}),
        (DecoderConfig, {"head": "linear"}),
        (DecoderConfig, {"activation": "softmax"}),
        (DecoderConfig, {"head_activation": "softmax"}),
        (DecoderConfig, {"source_width": 0}),
    ],
)
def test_impossible_sizes_are_refused_when_made(kind, values):
    with raises(ConfigError):
        kind(**values)


FIRST_FORMAT = """{
  "format_version": 1,
  "encoder": {
    "name": "test_vit",
    "image_size": [64, 96],
    "features": "patches",
    "map_index": -1,
    "blocks": 0,
    "width": 256,
    "heads": 4,
    "prefix_tokens": false,
    "drop_path": 0.0,
    "beside": null,
    "beside_maps": [-2]
  },
  "decoder": {
    "vocab_size": 320,
    "width": 32,
    "layers": 2,
    "heads": 2,
    "mlp_ratio": 4.0,
    "positions": 24,
    "dropout": 0.1
  }
}
"""


def test_a_config_of_the_first_format_is_read_and_written_to_the_letter():
    """Its model is GPT-2-shaped, and older versions read what is saved of it."""
    config = CaptionModelConfig.from_dict(json.loads(FIRST_FORMAT))
    assert config == CaptionModelConfig(
        EncoderConfig("test_vit", image_size=(64, 96)),
        DecoderConfig(vocab_size=320, width=32, layers=2, heads=2, positions=24),
    )
    assert (config.decoder.norm, config.decoder.norm_eps, config.decoder.head) == ("pre", 1e-5, "tied")
    assert json.dumps(config.to_dict()) == json.dumps(json.loads(FIRST_FORMAT))


def test_fields_newer_than_the_format_are_written_where_they_say_something():
    vit = VitShape(patch_size=8, width=48, layers=2, heads=3, mlp_width=100, qkv_bias=False)
    config = CaptionModelConfig(
        EncoderConfig("blip", image_size=(64, 64), prefix_tokens=True, vit=vit, norm_eps=1e-12),
        DecoderConfig(norm="post", norm_eps=1e-12, head="bert", source_width=48),
    )
    values = json.loads(json.dumps(config.to_dict()))
    assert CaptionModelConfig.from_dict(values) == config
    assert values["encoder"]["vit"]["mlp_width"] == 100
    assert "mlp_width" not in values["decoder"] and values["decoder"]["source_width"] == 48
    values["encoder"]["vit"]["rotary"] = True
    with raises(ConfigError, match=r"encoder.vit fields: rotary"):
        CaptionModelConfig.from_dict(values)
