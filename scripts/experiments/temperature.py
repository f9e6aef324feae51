"""Measures samples of self-critical training at several temperatures, to choose ``train.temperature``.

    python -m scripts.experiments.temperature [--captions FILE] [--photos N] [--model M]

Five captions are sampled for each of N training photos and scored by CIDEr-D, as in training. Printed for each
temperature: their mean reward, the spread among a photo's five, which is what there is to learn from, and the best of
five; then the reward of greedy captions.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from scripts import SHARED_DATA
from scripts.common.arguments import script_parser
from wordgaze import Captioner
from wordgaze.data.captions import read_captions
from wordgaze.training.objectives import CiderReward

CAPTIONS = SHARED_DATA / "flickr" / "captions_train.json"
SAMPLES = 5
TEMPERATURES = (1.0, 0.8, 0.65, 0.5, 0.35)


def main() -> None:
    parser = script_parser(__doc__)
    parser.add_argument("--captions", type=Path, default=CAPTIONS)
    parser.add_argument("--photos", type=int, default=200)
    parser.add_argument("--model")
    arguments = parser.parse_args()
    everything = read_captions(arguments.captions).photos
    indices = np.random.default_rng(0).permutation(len(everything))[: arguments.photos].tolist()
    reward = CiderReward([photo.captions for photo in everything])
    captioner = Captioner.from_pretrained(arguments.model)

    def rewards(**options: object) -> np.ndarray:
        search = vars(captioner.generation_options(num_beams=1, no_repeat_ngram_size=0, **options))
        results = captioner.caption([everything[index].path for index in indices], **search)
        texts = [[caption.text, *(other.text for other in caption.alternatives)] for caption in results]
        photos = [index for index, group in zip(indices, texts, strict=True) for _ in group]
        flat = [text for group in texts for text in group]
        return reward(photos, flat, [True] * len(flat)).reshape(len(indices), -1)

    print(f"{len(indices)} photos, {SAMPLES} samples each")
    print("temperature  reward  spread  best of five")
    for temperature in TEMPERATURES:
        values = rewards(sample=True, num_captions=SAMPLES, temperature=temperature)
        spread, best = values.std(axis=1).mean(), values.max(axis=1).mean()
        print(f"{temperature:11}  {values.mean():6.2f}  {spread:6.2f}  {best:12.2f}")
    print(f"     greedy  {rewards().mean():6.2f}")


if __name__ == "__main__":
    main()
