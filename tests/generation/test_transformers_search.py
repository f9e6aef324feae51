"""The searches give the ids of transformers' ``generate`` for the same weights."""

import pytest
import torch
from tests.their_decoders import BERT, GPT2, blip, gpt2, same_decoders

from wordgaze.generation.options import GenerationOptions
from wordgaze.generation.search import search
from wordgaze.generation.torch_stepper import TorchStepper

pytest.importorskip("transformers")

PHOTOS = 24
END = 1.5
IDS = {"gpt2": (49, 49, 49), "blip": (3, 2, 0)}  # start, end and pad
DECODERS = {
    "gpt2": (gpt2, {}, GPT2),  # one id is start, end and pad
    "blip": (blip, {"encoder_hidden_size": 64}, BERT | {"source_width": 64}),
}


class Pair:
    """A decoder of transformers and ours, which search over the same states."""

    def __init__(self, kind):
        self.theirs, self.decoder = same_decoders(*DECODERS[kind])
        self.bos_id, self.eos_id, self.pad_id = IDS[kind]
        self._end_sooner(kind)
        torch.manual_seed(1)
        self.states = 2 * torch.randn(PHOTOS, 7, self.decoder.config.states_width)

    @torch.no_grad()
    def _end_sooner(self, kind):
        """Raise the logit of the end, so that captions of many lengths compete."""
        if kind == "gpt2":
            end = self.decoder.token_embedding.weight[self.eos_id]
            for norm in (self.theirs.transformer.ln_f, self.decoder.final_norm):
                norm.bias += END * end / end.square().sum()
        else:
            for bias in (self.theirs.cls.predictions.decoder.bias, self.decoder.logits_bias):
                bias[self.eos_id] += END

    def start(self, encoder_hidden_states):
        return self.decoder.start(encoder_hidden_states)

    def decode(self, input_ids, cache):
        return self.decoder(input_ids, cache).logits[:, -1]

    def our_ids(self, prompt, options):
        ids = {"bos_id": self.bos_id, "eos_id": self.eos_id, "pad_id": self.pad_id}
        results = search(TorchStepper(self, self.states), options, prompt_ids=prompt, **ids)
        return [list(captions[0].token_ids) for captions in results]

    def their_ids(self, prompt, options):
        input_ids = torch.tensor([[self.bos_id, *prompt]]).expand(PHOTOS, -1)
        output = self.theirs.generate(
            input_ids=input_ids,
            encoder_hidden_states=self.states,
            attention_mask=torch.ones_like(input_ids),
            num_beams=options.num_beams,
            max_new_tokens=options.max_length,
            min_new_tokens=max(options.min_length - 1, 0),  # which does not count the end
            length_penalty=options.length_penalty,
            early_stopping=options.early_stopping,
            no_repeat_ngram_size=options.no_repeat_ngram_size,
            suppress_tokens=sorted({self.bos_id, self.pad_id} - {self.eos_id}) or None,
            bos_token_id=self.bos_id,
            eos_token_id=self.eos_id,
            pad_token_id=self.pad_id,
            do_sample=False,
        )
        first = 1 + len(prompt)
        rows = []
        for row in output.tolist():
            end = row.index(self.eos_id, first) + 1 if self.eos_id in row[first:] else len(row)
            rows.append(row[:end])
        return rows

    def score(self, photo, ids, prompt, options):
        """Return the score of a photo's caption, read anew."""
        first = 1 + len(prompt)
        with torch.no_grad():
            logits = self.decoder(torch.tensor([ids[:-1]]), self.start(self.states[photo : photo + 1])).logits[0]
        log_probs = logits.log_softmax(-1).gather(1, torch.tensor(ids[1:])[:, None])[first - 1 :]
        return float(log_probs.sum()) / len(log_probs) ** options.length_penalty


@pytest.fixture(scope="module", params=list(DECODERS))
def pair(request):
    return Pair(request.param)


def assert_same_ids(pair, prompt, options):
    """Captions may differ where their scores do not, since both sum in float32."""
    ours, theirs = pair.our_ids(prompt, options), pair.their_ids(prompt, options)
    ties = 0
    for photo, (our_ids, their_ids) in enumerate(zip(ours, theirs, strict=True)):
        if our_ids != their_ids:
            ties += 1
            scores = [pair.score(photo, ids, prompt, options) for ids in (our_ids, their_ids)]
            assert scores[0] == pytest.approx(scores[1], abs=1e-5), (photo, our_ids, their_ids)
    assert ties <= 1
    return ours


@pytest.mark.parametrize("length_penalty", [0.6, 1.0, 2.0])
@pytest.mark.parametrize("num_beams", [1, 2, 3, 5])
def test_greedy_and_beam_search_give_the_same_ids(pair, num_beams, length_penalty):
    options = GenerationOptions(
        num_beams=num_beams, length_penalty=length_penalty, max_length=10, no_repeat_ngram_size=0
    )
    captions = assert_same_ids(pair, [], options)
    assert len(set(map(tuple, captions))) > 3
    if length_penalty == 1:
        assert {2, 11} <= set(map(len, captions))  # an end at the first step, and none


@pytest.mark.parametrize("length_penalty", [-0.5, 1.0, 2.0])
def test_each_way_to_stop_gives_the_same_ids(pair, length_penalty):
    captions = []
    for early_stopping in (True, False, "never"):
        options = GenerationOptions(
            **{"num_beams": 3, "max_length": 12, "early_stopping": early_stopping},
            **{"length_penalty": length_penalty, "no_repeat_ngram_size": 0},
        )
        captions.append(assert_same_ids(pair, [], options))
    if length_penalty > 0:
        assert captions[0] != captions[1] != captions[2]


@pytest.mark.parametrize("num_beams", [1, 3])
@pytest.mark.parametrize("ngram", [0, 2])
def test_a_prompt_gives_the_same_ids(pair, num_beams, ngram):
    """No length counts it, and the n-gram block sees it."""
    prompt = [7, 11, 7]
    options = GenerationOptions(num_beams=num_beams, min_length=3, max_length=8, no_repeat_ngram_size=ngram)
    captions = assert_same_ids(pair, prompt, options)
    assert {tuple(ids[1:4]) for ids in captions} == {(7, 11, 7)}
    lengths = [len(ids) - 1 - len(prompt) for ids in captions]
    assert (min(lengths), max(lengths)) == (3, 8)
    assert ngram == 0 or not any(ids[3:5] == [7, 11] for ids in captions)
