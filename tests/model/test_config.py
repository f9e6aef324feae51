import json

from pytest import mark, raises

from wordgaze.errors import ConfigError
from wordgaze.model.config import CaptionModelConfig, DecoderConfig, EncoderConfig


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
    ],
)
def test_impossible_sizes_are_refused_when_made(kind, values):
    with raises(ConfigError):
        kind(**values)
