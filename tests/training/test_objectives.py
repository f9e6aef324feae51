import numpy as np
import pytest
import torch

from wordgaze.data.captions import read_captions
from wordgaze.data.dataset import TrainingBatch
from wordgaze.data.shapes import write_shapes
from wordgaze.evaluation.cider import CiderD
from wordgaze.evaluation.ptb import tokenize_all
from wordgaze.tasks.train import build_model
from wordgaze.text.tokenizer import CaptionTokenizer
from wordgaze.training.module import CaptionModule
from wordgaze.training.objectives import CiderReward, above_others, cross_entropy, self_critical

REFERENCES = [
    ("a dog runs on the left of a man", "a brown dog runs"),
    ("two men stand on a street", "men talk on a street"),
    ("a red bus on a street",),
]


def test_smoothing_mixes_in_the_mean_over_all_words():
    logits, labels = torch.randn(7, 5), torch.randint(0, 5, (7,))
    chances = logits.log_softmax(dim=1)
    own = -chances[torch.arange(7), labels].mean()
    expected = 0.8 * own - 0.2 * chances.mean()
    assert torch.allclose(cross_entropy(logits, labels, 0.2), expected, atol=1e-6)


def test_a_sample_is_compared_with_the_others_of_its_photo():
    found = above_others(torch.tensor([[3.0, 1.0, 2.0], [5.0, 5.0, 5.0]]))
    assert found.tolist() == [[1.5, -1.5, 0.0], [0.0, 0.0, 0.0]]


def test_the_gradient_is_that_of_the_expected_reward():
    """Over many samples its mean is the exact one, summed over all captions of two words."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, generator=generator, dtype=torch.float64).requires_grad_()
    rewards = 10 * torch.rand(3, 3, generator=generator, dtype=torch.float64)  # of each pair of words
    chances = logits.softmax(dim=1)
    expected = (chances[0, :, None] * chances[1, None, :] * rewards).sum()
    (exact,) = torch.autograd.grad(expected, logits)

    photos, samples = 50_000, 4
    drawn = torch.stack(
        [chances[t].detach().multinomial(photos * samples, True, generator=generator) for t in (0, 1)]
    )
    advantages = above_others(rewards[drawn[0], drawn[1]].view(photos, samples)).flatten()
    rows = logits[None].expand(photos * samples, 2, 3).reshape(-1, 3)
    loss = self_critical(rows, drawn.T.reshape(-1), advantages.repeat_interleave(2))
    (found,) = torch.autograd.grad(loss, logits)
    assert torch.allclose(-2 * found, exact, atol=0.02)  # the loss is a mean over words, here two a caption
    assert exact.abs().max() > 0.4


def test_the_reward_is_cider_with_the_end_as_a_word():
    reward = CiderReward(REFERENCES)
    captions = ["a dog runs", "a dog runs", "men on a street", "a red bus"]
    found = reward([0, 0, 1, 2], captions, [True, False, True, True])
    groups = {
        photo: [[*words, "<end>"] for words in tokenize_all(some)] for photo, some in enumerate(REFERENCES)
    }
    own = CiderD(groups).rewards(
        [0, 1, 2], [[*w, "<end>"] for w in tokenize_all([captions[0], *captions[2:]])]
    )
    np.testing.assert_allclose(found[[0, 2, 3]], own)
    assert found[1] < found[0]


@pytest.fixture
def module(tmp_path, small_config):
    """An untrained module of the objective ``scst``, and a batch of two photos, the second one mirrored."""
    photos = read_captions(write_shapes(tmp_path / "scenes", 6, seed=3, size=48)).photos
    references = [photo.captions for photo in photos]
    tokenizer = CaptionTokenizer.train([c for some in references for c in some], vocab_size=280)
    config = small_config(train={"objective": "scst", "initial_model": "bundled", "samples": 4})
    torch.manual_seed(0)
    module = CaptionModule(build_model(config, tokenizer.vocab_size), tokenizer, config, {}, references)
    module.log = module.log_dict = lambda *_, **__: None
    rows = torch.zeros(2, 2, dtype=torch.long)
    return module.train(), TrainingBatch(torch.randn(2, 3, 48, 48), rows, rows, [1, 4], [False, True])


def gradients(module, batch, dtype):
    module.zero_grad()
    with torch.autocast("cpu", dtype, enabled=dtype == torch.bfloat16):
        module.training_step(batch, 0).backward()
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


def test_all_weights_learn_also_in_bfloat16(module, monkeypatch):
    """Autocast's cache of weights, filled by the sampling without gradients, must not reach the pass with them."""
    monkeypatch.setattr(CaptionModule, "current_epoch", 0)
    full, half = (gradients(*module, dtype) for dtype in (torch.float32, torch.bfloat16))
    for name in (
        "decoder.blocks.0.mlp.0.weight",
        "decoder.token_embedding.weight",
        "encoder.network.norm.weight",
    ):
        assert full[f"model.{name}"].abs().sum() > 0, name
    assert set(full) == set(half)


def test_what_is_said_of_a_mirrored_photo_is_turned_round(module, monkeypatch):
    scst, batch = module
    seen = []

    def reward(photos, captions, ended):
        seen.append((photos, captions, ended))
        return np.zeros(2)

    monkeypatch.setattr(scst, "_reward", reward)
    text = "a circle on the left of a square"
    caption = type("Found", (), {"token_ids": tuple(scst.tokenizer.encode(text))})
    scst._rewards(batch, [caption, caption], [text, text])
    assert seen == [
        ([1, 4], ["a circle on the left of a square", "a circle on the right of a square"], [True, True])
    ]
