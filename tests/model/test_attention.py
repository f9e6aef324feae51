import pytest
import torch

from wordgaze.model.attention import Attention


@pytest.fixture
def attention():
    torch.manual_seed(0)
    module = Attention(24, 3).eval()
    for parameter in module.parameters():
        parameter.data.normal_(std=0.3)
    return module


@pytest.mark.parametrize("causal", [True, False])
def test_the_fused_kernel_equals_the_explicit_weights(attention, causal):
    hidden = torch.randn(4, 6, 24)
    key, value = attention.key_value(hidden)
    fused, none = attention(hidden, key, value, causal=causal)
    explicit, weights = attention(hidden, key, value, causal=causal, output_attentions=True)
    assert none is None
    assert torch.allclose(fused, explicit, atol=1e-5)
    assert torch.allclose(weights.sum(-1), torch.ones(4, 3, 6), atol=1e-6)
    if causal:
        assert (weights.triu(1) == 0).all()


def test_rows_of_a_photo_share_its_keys_as_if_they_were_copied(attention):
    hidden, patches = torch.randn(6, 5, 24), torch.randn(2, 9, 24)
    key, value = attention.key_value(patches)
    shared, weights = attention(hidden, key, value, output_attentions=True)
    copied_key, copied_value = (tensor.repeat_interleave(3, dim=0) for tensor in (key, value))
    copied, copied_weights = attention(hidden, copied_key, copied_value, output_attentions=True)
    assert torch.allclose(shared, copied, atol=1e-5)
    assert weights.shape == (6, 3, 5, 9)
    assert torch.allclose(weights, copied_weights, atol=1e-6)
    assert torch.allclose(attention(hidden, key, value)[0], copied, atol=1e-5)


def test_gradients_reach_the_returned_weights(attention):
    hidden, patches = torch.randn(6, 5, 24), torch.randn(2, 9, 24)
    output, weights = attention(hidden, *attention.key_value(patches), output_attentions=True)
    (gradient,) = torch.autograd.grad(output[4].sum(), weights)
    assert gradient[4].abs().max() > 0
    assert gradient[[0, 1, 2, 3, 5]].abs().max() == 0


def test_it_equals_torchs_own_multi_head_attention(attention):
    reference = torch.nn.MultiheadAttention(24, 3, batch_first=True).eval()
    parts = (attention.query, attention.key, attention.value)
    reference.in_proj_weight.data = torch.cat([part.weight for part in parts])
    reference.in_proj_bias.data = torch.cat([part.bias for part in parts])
    reference.out_proj.load_state_dict(attention.output.state_dict())
    hidden, patches = torch.randn(2, 5, 24), torch.randn(2, 9, 24)
    expected, expected_weights = reference(hidden, patches, patches, average_attn_weights=False)
    output, weights = attention(hidden, *attention.key_value(patches), output_attentions=True)
    assert torch.allclose(output, expected, atol=1e-4)
    assert torch.allclose(weights, expected_weights, atol=1e-5)


def test_new_words_see_all_words_before_them(attention):
    hidden = torch.randn(1, 5, 24)
    key, value = attention.key_value(hidden)
    whole, _ = attention(hidden, key, value, causal=True)
    last_two, weights = attention(hidden[:, 3:], key, value, causal=True, output_attentions=True)
    assert torch.allclose(whole[:, 3:], last_two, atol=1e-5)
    assert weights[0, 0, 0, 4] == 0 and weights[0, 0, 1, 4] > 0
