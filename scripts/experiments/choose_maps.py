"""Print which method and which post-processing point best, to choose ``DEFAULT_METHOD`` and its processing by.

    python -m scripts.experiments.choose_maps --images coco/photos --captions coco/captions_val.json \\
        --instances coco/instances_val.json [--model DIR] [--per-photo 5]

Only photos with even ids are looked at, so that ``wordgaze grounding`` can report on the odd ones (``halves``). The
first row points best at words other than person words, on reference captions. ``rollout`` takes most of the time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import torch

from scripts.common.arguments import script_parser
from scripts.common.markdown import table
from wordgaze.captioner import Captioner
from wordgaze.explanation.forced_pass import forced_passes, with_gradients, with_rollout
from wordgaze.explanation.methods import (
    DEFAULT_METHOD,
    DEFAULT_POST_PROCESSING,
    PostProcessing,
    WordMaps,
    available_methods,
    find_method,
    merge_words,
    post_process,
    rows_of,
)
from wordgaze.tasks.grounding import BoxedPhoto, Scene, batches, boxed_photos, mapped

PROCESSING = {
    "none": PostProcessing(),
    "smooth 0.5": PostProcessing(smooth=0.5),
    "smooth 1": PostProcessing(smooth=1.0),
    "smooth 1.5": PostProcessing(smooth=1.5),
    "half the mean": PostProcessing(mean=0.5),
    "mean": PostProcessing(mean=1.0),
    "mean, smooth 1": PostProcessing(mean=1.0, smooth=1.0),
    "outliers": PostProcessing(outliers=6.0),
    "outliers, smooth 1": PostProcessing(outliers=6.0, smooth=1.0),
}


def main() -> None:
    parser = script_parser(__doc__)
    for name in ("images", "captions", "instances"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--model")
    parser.add_argument("--per-photo", type=int, default=5, help="captions of each photo")
    arguments = parser.parse_args()

    captioner = Captioner.from_pretrained(arguments.model, "cpu")
    photos = [
        boxed
        for boxed in boxed_photos(arguments.captions, arguments.images, arguments.instances)
        if str(boxed.photo.photo_id).isdigit() and int(boxed.photo.photo_id) % 2 == 0
    ]
    if not photos:
        parser.error("no photo with boxes has an even number as its id; name other photos")
    scores: dict[tuple[str, str], list[tuple[float, ...]]] = defaultdict(list)
    is_person, centers = [], []
    for scene, words in all_maps(captioner, photos, arguments.per_photo):
        for key, maps in words.items():
            caption = mapped(scene, maps.texts, maps.maps)
            for mention in caption.mentions:
                target = scene.targets[mention.category]
                scores[key].append(tuple(target.scores(caption.map_of(mention)[None])[0]))
                if key == (DEFAULT_METHOD, "none"):
                    is_person.append(mention.category == "person")
                    centers.append(target.center)
    person = np.array(is_person)
    rows = [(*key, np.array(values)) for key, values in scores.items()]
    rows.sort(key=lambda row: -row[2][~person, 0].mean())
    print(f"{len(photos)} photos with even ids, {(~person).sum()} other words, {person.sum()} person words")
    lines = []
    for method, label, values in [("center", "", np.array(centers)), *rows]:
        default = method == DEFAULT_METHOD and PROCESSING.get(label) == DEFAULT_POST_PROCESSING
        numbers = np.concatenate([np.nanmean(values[~person], axis=0), np.nanmean(values[person], axis=0)])
        name = f"**{method}**" if default else method
        lines.append([name, label, *(f"{number:.3f}" for number in numbers)])
    print(
        table(
            [
                "method",
                "post-processing",
                "other: pointing",
                "mass",
                "auc",
                "person: pointing",
                "mass",
                "auc",
            ],
            lines,
        )
    )


def all_maps(
    captioner: Captioner, photos: list[BoxedPhoto], per_photo: int
) -> Iterator[tuple[Scene, dict[tuple[str, str], WordMaps]]]:
    """Yield a caption at a time, with its maps by every method and post-processing."""
    model, config = captioner.model, captioner.model.config.decoder
    names = [
        *available_methods(config.layers),
        *(f"layer-{layer}-head-{head}" for layer in range(config.layers) for head in range(config.heads)),
    ]
    for (boxed,), pixel_values, (scene,) in batches(captioner, photos, 1):
        with torch.no_grad():
            states = captioner.encode(pixel_values)
        captions = [captioner.tokenizer.encode(text) for text in boxed.photo.captions[:per_photo]]
        for ids, plain in zip(captions, forced_passes(model, states, captions), strict=True):
            passes = {
                "": plain,
                "gradient": with_gradients(model, states, ids, plain),
                "rollout": with_rollout(model, pixel_values, ids, plain, captioner.parts.preprocessing.hflip_tta),
            }
            spans = captioner.tokenizer.words(ids)
            maps = {}
            for name in names:
                rows = rows_of(find_method(name, config.layers, config.heads), passes, model.num_prefix)
                for label, processing in PROCESSING.items():
                    processed = post_process(rows, model.grid, processing)
                    maps[name, label] = merge_words(processed, plain, spans, model.grid)
            yield scene, maps


if __name__ == "__main__":
    main()
