"""Compares what self-critical training can learn from one reference a photo, and from several.

python -m scripts.experiments.single_reference [--captions FILE] [--photos N] [--model M]

Five captions are sampled for each of N photos with at least five references, as in training, and scored by CIDEr-D
against the first n references. Printed for n = 1 to 4: the share of samples that earn next to nothing (under 0.05), and
how far the advantage that training sees (the reward less the mean of the photo's other samples) agrees with the
advantage by a fifth reference, which stands for what people would say: their correlation over all samples, with a 95 %
bootstrap interval over photos.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from scripts import SHARED_DATA
from scripts.common.arguments import script_parser
from wordgaze import Captioner
from wordgaze.data.captions import read_captions
from wordgaze.data.readers.caption_file import CaptionedPhoto
from wordgaze.evaluation.bootstrap import bootstrap, interval
from wordgaze.training.objectives import CiderReward, above_others

CAPTIONS = SHARED_DATA / "flickr" / "captions_train.json"
SAMPLES, REFERENCES, NOTHING = 5, 5, 0.05


def correlations(first: np.ndarray, second: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Correlate advantages (P, K), whose mean over a photo is zero, for draws (S, P) of the photos."""
    pairs = ((first, second), (first, first), (second, second))
    products, first_squares, second_squares = ((a * b).sum(1) for a, b in pairs)
    return (draws @ products) / np.sqrt((draws @ first_squares) * (draws @ second_squares))


def main() -> None:
    parser = script_parser(__doc__)
    parser.add_argument("--captions", type=Path, default=CAPTIONS)
    parser.add_argument("--photos", type=int, default=400)
    parser.add_argument("--model")
    arguments = parser.parse_args()
    everything = [p for p in read_captions(arguments.captions).photos if len(p.captions) >= REFERENCES]
    indices = np.random.default_rng(0).permutation(len(everything))[: arguments.photos]
    photos: list[CaptionedPhoto] = [everything[index] for index in indices]
    captioner = Captioner.from_pretrained(arguments.model)
    options = captioner.generation_options(sample=True, num_captions=SAMPLES, no_repeat_ngram_size=0)
    results = captioner.caption([photo.path for photo in photos], **vars(options))
    texts = [text for caption in results for text in (caption.text, *(a.text for a in caption.alternatives))]
    rows = [row for row in range(len(photos)) for _ in range(SAMPLES)]

    def rewards(first: int, last: int) -> np.ndarray:
        reward = CiderReward([photo.captions[first:last] for photo in photos])
        return reward(rows, texts, [True] * len(texts)).reshape(-1, SAMPLES)

    def advantages(values: np.ndarray) -> np.ndarray:
        return above_others(torch.from_numpy(values)).numpy()

    held_out = advantages(rewards(REFERENCES - 1, REFERENCES))
    print(f"{len(photos)} photos, {len(texts)} samples")
    print("references  earn nothing  agreement with another reference")
    for count in range(1, REFERENCES):
        values = rewards(0, count)
        seen = advantages(values)
        whole = correlations(seen, held_out, np.ones((1, len(photos))))[0]
        low, high = interval(
            bootstrap(len(photos), lambda draws, seen=seen: correlations(seen, held_out, draws)[:, None])[:, 0]
        )
        print(f"{count:10}  {(values < NOTHING).mean():12.0%}  {whole:.2f} ({low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
