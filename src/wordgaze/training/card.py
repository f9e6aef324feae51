"""The card of a model that a run has made: its data, scores with intervals, limits, and the command."""

from __future__ import annotations

from collections.abc import Iterator

from wordgaze.evaluation.bootstrap import intervals
from wordgaze.evaluation.score import CIDER_PHOTOS, CaptionScorer
from wordgaze.training.config import TrainingConfig
from wordgaze.training.config_file import describe
from wordgaze.training.fit import Fitted
from wordgaze.training.load_data import TrainingData

_FRONT = "---\nlibrary_name: wordgaze\npipeline_tag: image-to-text\ntags:\n- image-captioning\n- wordgaze\n---\n"
_COLUMNS = {"CIDEr": "CIDEr", "Bleu_4": "BLEU-4", "ROUGE_L": "ROUGE-L"}


def make_card(config: TrainingConfig, data: TrainingData, fitted: Fitted, command: str | None = None) -> str:
    """Return the README.md of the model folder; ``command`` is what the user typed."""
    parts = [
        f"{_FRONT}\n# A wordgaze captioner\n",
        f"Trained with `wordgaze train` for {fitted.steps} steps on {len(data.training)} photos with "
        f"{data.captions} captions, seed {config.train.seed}.{_origin(config)}\n",
    ]
    if command is not None:
        parts.append(f"```bash\n{command}\n```\n")
    parts += _scores(data, fitted)
    parts.append(
        "## Use\n\n```bash\nwordgaze caption photo.jpg --model FOLDER\nwordgaze explain photo.jpg --model FOLDER -o "
        "maps.png\n```\n"
    )
    parts.append(f"## Configuration\n\n```yaml\n{describe(config)}```\n")
    return "\n".join(parts)


def _origin(config: TrainingConfig) -> str:
    starts = [name for name in (config.train.initial_model, config.decoder.pretrained) if name]
    if config.train.initial_model is None and config.encoder.pretrained:
        starts.insert(0, config.encoder.shape.name)
    return f" It began from {' and '.join(f'`{name}`' for name in starts)}, whose license holds on." if starts else ""


def _scores(data: TrainingData, fitted: Fitted) -> Iterator[str]:
    """Yield the tables of what the best weights said of the validation photos."""
    if fitted.cider is None:
        yield "It was not validated: `wordgaze evaluate` scores it.\n"
        return
    yield f"## Scores\n\nBest mean CIDEr on the validation sets (greedy): {fitted.cider:.3f}.\n"
    if not fitted.captions:
        return
    yield (
        "Greedy captions of the validation photos, by which these weights were chosen, so a little too good; 95 % "
        "intervals over photos. `wordgaze evaluate` scores with the model's own search.\n"
    )
    lines = [
        f"| set | photos | {' | '.join(_COLUMNS.values())} | different captions |",
        "| --- " * (len(_COLUMNS) + 3) + "|",
    ]
    few = False
    for name, captions in fitted.captions.items():
        photos = data.validation_photos[name]
        references = {i: photos[i].captions for i in captions}
        scored = CaptionScorer(references).score(captions)
        ends = intervals({metric: scored.scores[metric] for metric in _COLUMNS})
        cells = [f"{scored.metrics[m]:.3f} ({ends[m][0]:.3f} to {ends[m][1]:.3f})" for m in _COLUMNS]
        lines.append(f"| {name} | {len(captions)} | {' | '.join(cells)} | {len(set(captions.values()))} |")
        few = few or len(captions) < CIDER_PHOTOS
    yield "\n".join(lines) + "\n"
    if few:
        yield f"With fewer than {CIDER_PHOTOS} photos CIDEr means little.\n"
    yield (
        "## Limits\n\nIt says most about photos like those it was trained on, and describes all others in their words: "
        "expect captions of other photos to be wrong. A map shows where a word looked, not whether it is right.\n"
    )
