"""The card of the bundled model: the prose of card.md with the values of a model, its training and its measurements."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from scripts.bundled.stages import Stage
from scripts.common.markdown import wrapped
from scripts.common.template import Parts
from wordgaze.data.transform import Preprocessing
from wordgaze.folder import ModelParts

PROSE = Parts(Path(__file__).with_name("card.md"))
ENCODER, BESIDE = "vit_tiny_patch16_224", "tf_efficientnet_lite2"  # what the card's text speaks of


def card(
    parts: ModelParts,
    stages: Sequence[Stage],
    measured: str,
    hardware: Sequence[str],
    notes: Path | None = None,
) -> str:
    """Return the card's text; ``measured``: the sections of ``measured_sections``, "" without measurements.

    ``hardware``: what each stage ran on.
    """
    photos, captions = _training_data(stages[0])
    text = PROSE.fill(
        "card",
        **_of_model(parts),
        **_of_aux_backbone(parts, stages),
        **_of_photos(parts.preprocessing),
        photos=f"{photos:,}",
        captions=f"{captions:,}",
        stages="\n".join(
            PROSE.fill("stage", hardware=ran_on, **stage.values())
            for stage, ran_on in zip(stages, hardware, strict=True)
        ),
        notes="" if notes is None else notes.read_text(encoding="utf-8").strip(),
        measured=measured or PROSE.fill("not_measured"),
    )
    return wrapped(text)


def _of_model(parts: ModelParts) -> dict[str, object]:
    decoder, (down, across) = parts.model.config.decoder, parts.model.grid
    height, width = parts.preprocessing.size
    parameters = sum(parameter.numel() for parameter in parts.model.parameters())
    return {
        "parameters": f"{parameters / 1e6:.1f}",
        **{"height": height, "width": width, "down": down, "across": across},
        **{"layers": decoder.layers, "decoder_width": decoder.width, "vocabulary": decoder.vocab_size},
    }


def _of_aux_backbone(parts: ModelParts, stages: Sequence[Stage]) -> dict[str, object]:
    """Describe the second network, where there is one; end the script where the card's text is of other networks."""
    encoder, layers = parts.model.config.encoder, parts.model.encoder.layers()
    if encoder.name != ENCODER or encoder.beside not in (None, BESIDE):
        raise SystemExit(
            f"The card speaks of {ENCODER} and {BESIDE}, the model has {encoder.name} and {encoder.beside}; "
            "change the text."
        )
    if encoder.beside is None:
        return {"beside": "", "beside_origin": ""}
    frozen = [stage.had.encoder.freeze for stage in stages[1:]]
    upper_learned = any(isinstance(freeze, int) and freeze < len(layers) for freeze in frozen)
    learned = f" {PROSE.fill('upper_learned')}" if upper_learned else ""
    return {"beside": PROSE.fill("beside"), "beside_origin": PROSE.fill("beside_origin", learned=learned)}


def _of_photos(preprocessing: Preprocessing) -> dict[str, object]:
    """Describe which part of a photo the model sees, and how often."""
    stretch = f"{preprocessing.max_aspect_change:.2f}"
    return {
        "shown": PROSE.fill(f"shown_{preprocessing.crop}"),
        "squeezed": PROSE.fill("squeezed", stretch=stretch) if preprocessing.max_aspect_change > 1 else "",
        "mirrored": PROSE.fill("mirrored") if preprocessing.hflip_tta else "",
    }


def _training_data(stage: Stage) -> tuple[int, int]:
    """Return how many photos and captions the stage was trained on."""
    files = [json.loads(Path(source.captions).read_text(encoding="utf-8")) for source in stage.had.data.train]
    return sum(len(file["images"]) for file in files), sum(len(file["annotations"]) for file in files)
