import pytest
import torch

from wordgaze.errors import ConfigError
from wordgaze.training.config import EncoderOptions
from wordgaze.training.frozen import FrozenPart
from wordgaze.training.optimizer import parameter_groups, warmup_cosine
from wordgaze.training.starting_model import build_model


def rate_of(groups, parameter):
    return next(g["lr"] for g in groups if any(p is parameter for p in g["params"]))


def test_rates_fall_from_the_decoder_down_through_the_encoder(small_config):
    config = small_config(encoder={"learning_rate": 1e-3, "layer_decay": 0.5}, train={"learning_rate": 0.1})
    model = build_model(config.encoder, config.decoder, 280)
    groups = parameter_groups(model, config.encoder, config.train)
    network = model.encoder.network
    depth = len(network.blocks)
    assert rate_of(groups, model.decoder.token_embedding.weight) == 0.1
    assert rate_of(groups, model.bridge.weight) == 0.1
    assert rate_of(groups, network.norm.weight) == 1e-3
    assert rate_of(groups, network.blocks[-1].attn.qkv.weight) == pytest.approx(1e-3 * 0.5)
    assert rate_of(groups, network.blocks[0].attn.qkv.weight) == pytest.approx(1e-3 * 0.5**depth)
    assert rate_of(groups, network.patch_embed.proj.weight) == pytest.approx(1e-3 * 0.5 ** (depth + 1))
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    assert all(p.ndim >= 2 for g in groups if g["weight_decay"] for p in g["params"])


@pytest.mark.parametrize("features", ["patches", "map"])
def test_freezing_stops_the_first_layers(small_config, features):
    name, blocks = ("test_vit", 0) if features == "patches" else ("test_efficientnet", 2)
    config = small_config(encoder={"name": name, "features": features, "blocks": blocks})
    model = build_model(config.encoder, config.decoder, 280)
    layers = model.encoder.layers()
    one = FrozenPart(model.encoder, 1)
    one.freeze()
    assert len(one) == 1
    assert not any(p.requires_grad for p in layers[0].parameters())
    assert all(p.requires_grad for layer in layers[1:] for p in layer.parameters())
    frozen = [p for g in parameter_groups(model, config.encoder, config.train) for p in g["params"]]
    assert all(p.requires_grad for p in frozen)
    whole = FrozenPart(model.encoder, "all")
    whole.freeze()
    assert len(whole) == len(layers) + 1  # and the head
    assert not any(p.requires_grad for p in model.encoder.parameters())
    with pytest.raises(ConfigError, match="layers"):
        FrozenPart(model.encoder, 99)


def test_an_unknown_freeze_is_refused():
    with pytest.raises(ConfigError, match="freeze"):
        EncoderOptions(freeze="half")


def test_the_rate_warms_up_and_falls_to_zero():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    scheduler = warmup_cosine(optimizer, warmup=4, total=20)
    rates = []
    for _ in range(20):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates[:4] == pytest.approx([0.5, 1.0, 1.5, 2.0])
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[12] == pytest.approx(1.0)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.0, abs=1e-9)
