import numpy as np
import pytest
import torch

from wordgaze.data.captions import read_captions
from wordgaze.data.shapes import write_shapes
from wordgaze.evaluation.cider import CiderD
from wordgaze.evaluation.ptb import tokenize_all
from wordgaze.generation.result import GeneratedCaption
from wordgaze.text.tokenizer import CaptionTokenizer
from wordgaze.training.dataset import TrainingBatch
from wordgaze.training.frozen import FrozenPart
from wordgaze.training.inputs import PixelInputs
from wordgaze.training.module import CaptionModule
from wordgaze.training.objectives import CiderReward, above_others, cross_entropy, self_critical
from wordgaze.training.self_critical import MEASURES, SelfCriticalStep
from wordgaze.training.starting_model import build_model

REFERENCES = [
    ("a dog runs on the left of a man", "a brown dog runs"),
    ("two men stand on a street", "men talk on a street"),
    ("a red bus on a street",),
]


def test_smoothing_mixes_in_the_mean_over_all_words():
    logits, labels = torch.randn(7, 5), torch.randint(0, 5, (7,))
    log_probs = logits.log_softmax(dim=1)
    own = -log_probs[torch.arange(7), labels].mean()
    expected = 0.8 * own - 0.2 * log_probs.mean()
    assert torch.allclose(cross_entropy(logits, labels, 0.2), expected, atol=1e-6)


def test_a_sample_is_compared_with_the_others_of_its_photo():
    advantages = above_others(torch.tensor([[3.0, 1.0, 2.0], [5.0, 5.0, 5.0]]))
    assert advantages.tolist() == [[1.5, -1.5, 0.0], [0.0, 0.0, 0.0]]


def test_the_gradient_is_that_of_the_expected_reward():
    """Over many samples its mean is the exact one, summed over all captions of two words."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, generator=generator, dtype=torch.float64).requires_grad_()
    rewards = 10 * torch.rand(3, 3, generator=generator, dtype=torch.float64)  # of each pair of words
    probs = logits.softmax(dim=1)
    expected = (probs[0, :, None] * probs[1, None, :] * rewards).sum()
    (exact,) = torch.autograd.grad(expected, logits)

    photos, samples = 50_000, 4
    drawn = torch.stack([probs[t].detach().multinomial(photos * samples, True, generator=generator) for t in (0, 1)])
    advantages = above_others(rewards[drawn[0], drawn[1]].view(photos, samples)).flatten()
    rows = logits[None].expand(photos * samples, 2, 3).reshape(-1, 3)
    loss = self_critical(rows, drawn.T.reshape(-1), advantages.repeat_interleave(2))
    (estimate,) = torch.autograd.grad(loss, logits)
    assert torch.allclose(-2 * estimate, exact, atol=0.02)  # the loss is a mean over words, here two a caption
    assert exact.abs().max() > 0.4


def test_the_reward_is_cider_with_the_end_as_a_word():
    reward = CiderReward(REFERENCES)
    captions = ["a dog runs", "a dog runs", "men on a street", "a red bus"]
    rewards = reward([0, 0, 1, 2], captions, [True, False, True, True])
    groups = {photo: [[*words, "<end>"] for words in tokenize_all(texts)] for photo, texts in enumerate(REFERENCES)}
    own = CiderD(groups).rewards([0, 1, 2], [[*w, "<end>"] for w in tokenize_all([captions[0], *captions[2:]])])
    np.testing.assert_allclose(rewards[[0, 2, 3]], own)
    assert rewards[1] < rewards[0]


@pytest.fixture
def module(tmp_path, small_config):
    """An untrained module of the objective ``scst``, and a batch of two photos, the second one mirrored."""
    photos = read_captions(write_shapes(tmp_path / "scenes", 6, seed=3, size=48)).photos
    references = [photo.captions for photo in photos]
    tokenizer = CaptionTokenizer.train([caption for texts in references for caption in texts], vocab_size=280)
    config = small_config(train={"objective": "scst", "initial_model": "bundled", "samples": 4})
    torch.manual_seed(0)
    model = build_model(config.encoder, config.decoder, tokenizer.vocab_size)
    step = SelfCriticalStep(model, tokenizer, CiderReward(references), config.train, config.data.max_length)
    inputs = PixelInputs(model, FrozenPart(model.encoder, "none"))
    groups = {"encoder": config.encoder, "train": config.train, "generation": config.generation}
    module = CaptionModule(model, tokenizer, inputs, {}, **groups, self_critical=step)
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


def test_a_step_can_be_taken_alone(module):
    """Without Lightning; the same photos in the same epoch give the same loss, and other samples in another."""
    scst, batch = module
    step, states = scst.self_critical, scst.model.eval().encode(batch.inputs)
    losses = []
    for epoch in (0, 0, 1):
        loss, measures = step.loss(batch, states, epoch)
        losses.append(loss.item())
    assert losses[0] == losses[1] != losses[2]
    assert set(vars(measures)) == set(MEASURES) and 0 <= measures.repeats <= 1 and measures.words > 0


def test_captions_of_a_mirrored_photo_are_scored_with_sides_swapped(module):
    scst, batch = module
    seen = []

    def reward(photos, captions, ended):
        seen.append((photos, captions, ended))
        return np.zeros(2)

    step = scst.self_critical
    step.reward = reward
    text = "a circle on the left of a square"
    caption = GeneratedCaption(tuple(scst.tokenizer.encode(text)), (), 0.0)
    step.score(batch, [caption, caption], [text, text])
    assert seen == [([1, 4], ["a circle on the left of a square", "a circle on the right of a square"], [True, True])]
