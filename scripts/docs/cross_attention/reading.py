"""The caption of one photo, read again by hand: the model's own tensors, step by step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from scripts import ROOT
from wordgaze.captioner import Captioner, ExplainedWord, Explanation
from wordgaze.data.photos import open_photo
from wordgaze.explanation.methods import DEFAULT_METHOD, DEFAULT_POST_PROCESSING, PostProcessing
from wordgaze.model.attention import Attention
from wordgaze.model.decoder import Decoder

PHOTO = "demo/kingfisher.jpg"
START, END = "‹start›", "‹end›"


def read_by_hand(decoder: Decoder, ids: Tensor, patches: Tensor) -> tuple[Tensor, list[dict[str, Tensor]]]:
    """Return the logits of a caption, ids (1, T), over patches (1, N, D), and each layer's cross-attention."""
    hidden = decoder.token_embedding(ids) + decoder.position_embedding(torch.arange(ids.shape[1]))
    layers = []
    for block in decoder.blocks:
        normed = block.self_norm(hidden)
        words = block.self_attention.key_value(normed)
        hidden = hidden + block.self_attention(normed, *words, causal=True)[0]

        asking, cross = block.cross_norm(hidden), block.cross_attention
        query = cross.query(asking).unflatten(-1, (cross.heads, -1)).transpose(1, 2)  # (1, heads, T, d)
        key, value = cross.key_value(patches)  # each (1, heads, N, d)
        scores = query @ key.mT / key.shape[-1] ** 0.5
        weights = scores.softmax(dim=-1)  # (1, heads, T, N)
        mixed = weights @ value  # (1, heads, T, d)
        output = cross.output(mixed.transpose(1, 2).flatten(2))  # (1, T, D)
        layers.append(
            {"asking": asking, "query": query, "key": key, "value": value}
            | {"scores": scores, "weights": weights, "mixed": mixed, "output": output}
        )
        hidden = hidden + output
        hidden = hidden + block.mlp(block.mlp_norm(hidden))
    return decoder.final_norm(hidden) @ decoder.token_embedding.weight.T, layers


@dataclass(frozen=True)
class Reading:
    """One caption of one photo, and all that the page shows of it; T rows, one for each prediction.

    ``shapes``: of each tensor on the way, by name. ``labels`` (T + 1): the start, the tokens, the end. ``word``: the
    grounded one with the most evidence, which the page follows; ``row``: of its first token's prediction; ``head``: of
    the last layer, the one whose row there is sharpest.
    """

    captioner: Captioner
    explanation: Explanation
    raw: Explanation
    ids: Tensor
    states: Tensor
    layers: list[dict[str, Tensor]]
    self_attention: Tensor  # (T, T), mean over layers and heads
    shapes: dict[str, tuple[int, ...]]
    labels: list[str]
    word: ExplainedWord
    row: int
    head: int

    @property
    def last(self) -> dict[str, Tensor]:
        """Return the last layer's tensors, without the first dimension."""
        return {name: tensor[0] for name, tensor in self.layers[-1].items()}

    @property
    def rows(self) -> Tensor:
        """Return the weights (T, N) that ``--method last --raw`` shows: the last layer's, mean over the heads."""
        return self.last["weights"].mean(dim=0)

    @property
    def predictions(self) -> list[str]:
        """Return ``read → predicted`` of each row."""
        return [f"{read} → {said}" for read, said in zip(self.labels, self.labels[1:], strict=False)]


def read(captioner: Captioner) -> Reading:
    """Caption the photo, and read the caption again by hand."""
    model, tokenizer = captioner.model, captioner.tokenizer
    if model.num_prefix:
        raise SystemExit("The page knows patches alone; say in it what the prefix tokens are.")
    if DEFAULT_METHOD != "gradient" or PostProcessing(smooth=DEFAULT_POST_PROCESSING.smooth) != DEFAULT_POST_PROCESSING:
        raise SystemExit("The default method or its post-processing has changed; rewrite the page's part on maps.")
    explanation = captioner.explain(ROOT / PHOTO)
    text = explanation.caption.text
    raw = captioner.explain(ROOT / PHOTO, text, "last", raw=True)
    tokens = tokenizer.encode(text)
    ids = torch.tensor([tokens[:-1]])
    pixel_values = captioner.transform(open_photo(ROOT / PHOTO))[0][None]
    with torch.no_grad():
        states = captioner.encode(pixel_values)
        logits, layers = read_by_hand(model.decoder, ids, states)
        attentions = model(ids, states, output_attentions=True).attentions
    index = max(
        range(len(explanation.words)),
        key=lambda index: (explanation.words[index].grounded, explanation.words[index].evidence),
    )
    row = tokenizer.words(tokens)[index].start - 1
    entropies = torch.special.entr(layers[-1]["weights"][0, :, row]).sum(dim=-1)
    return Reading(
        captioner=captioner,
        explanation=explanation,
        raw=raw,
        ids=ids,
        states=states,
        layers=layers,
        self_attention=torch.stack(attentions)[:, 0].mean(dim=(0, 1)),
        shapes={
            "pixel_values": tuple(pixel_values.shape),
            "states": tuple(states.shape),
            "ids": tuple(ids.shape),
            "logits": tuple(logits.shape),
            **{name: tuple(tensor.shape) for name, tensor in layers[-1].items()},
        },
        labels=[START, *(tokenizer.decode([token]) for token in tokens[1:-1]), END],
        word=explanation.words[index],
        row=row,
        head=int(entropies.argmin()),
    )


def parts_of_patches(layer: dict[str, Tensor], cross: Attention) -> Tensor:
    """Return what each patch adds to the output (T, N, D): with its bias they sum to it (Kobayashi et al. 2020)."""
    heads, width = cross.heads, cross.output.weight.shape[0]
    to_output = cross.output.weight.reshape(width, heads, width // heads)
    through = torch.einsum("hnd,ohd->hno", layer["value"][0], to_output)
    return torch.einsum("htn,hno->tno", layer["weights"][0], through)
