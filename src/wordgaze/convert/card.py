"""The card of a converted model: its source, its license, what was taken over, what was not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from wordgaze.convert.checkpoint import Checkpoint
from wordgaze.folder import ModelParts

_SOURCE_CARD = "README.md"
PROOF = (
    "Conversion is proven on random weights of this architecture, against transformers; it was not run on published "
    "ones by us. `scripts/experiments/checkpoint_parity.py ID` of wordgaze's repository does that."
)


def card(checkpoint: Checkpoint, parts: ModelParts, family: str, architecture: str, left_out: Mapping[str, Any]) -> str:
    """Return the text of README.md, with the hub's front matter."""
    source = source_card(checkpoint)
    revision = revision_of(checkpoint)
    is_id = re.fullmatch(r"[\w.-]+/[\w.-]+", checkpoint.name) is not None and revision is not None
    front: dict[str, Any] = {
        "library_name": "wordgaze",
        "pipeline_tag": "image-to-text",
        "tags": ["image-captioning"],
        **({"base_model": checkpoint.name} if is_id else {}),
        **{name: source[name] for name in ("license", "license_name", "license_link") if name in source},
    }
    head = yaml.safe_dump(front, sort_keys=False, allow_unicode=True)
    count = sum(parameter.numel() for parameter in parts.model.parameters())
    said = [
        ("Source", f"`{checkpoint.name}`" + (f", revision `{revision}`" if revision else "")),
        ("License", str(source["license"]) if "license" in source else "its card names none; see the source"),
        ("Architecture", f"{family} ({architecture}), {count / 1e6:.1f} M parameters"),
        *_settings(parts),
        *([("Not taken over", _list(left_out))] if left_out else []),
    ]
    return (
        f"---\n{head}---\n\n# {checkpoint.name}, converted for wordgaze\n\n"
        + "".join(f"- {name}: {text}\n" for name, text in said)
        + f"\n{PROOF}\n"
    )


def source_card(checkpoint: Checkpoint) -> Mapping[str, Any]:
    """Return the front matter of the checkpoint's own card; nothing where it has none that can be read."""
    path = checkpoint.folder / _SOURCE_CARD
    if not path.is_file():
        return {}
    text = path.read_text(encoding="utf-8", errors="replace")
    found = re.match(r"---\s*\n(.*?)\n---\s*(\n|$)", text, re.DOTALL)
    try:
        values = yaml.safe_load(found[1]) if found else None
    except yaml.YAMLError:
        return {}
    if not isinstance(values, dict):
        return {}
    return {name: value for name, value in values.items() if isinstance(value, str)}


def revision_of(checkpoint: Checkpoint) -> str | None:
    """Return the commit that the hub's cache has a folder of; None for a folder of the user's."""
    return checkpoint.folder.name if checkpoint.folder.parent.name == "snapshots" else None


def _settings(parts: ModelParts) -> list[tuple[str, str]]:
    pixels, ids = parts.preprocessing.to_dict(), parts.tokenizer.special_ids
    generation = parts.generation.to_dict()
    sampling = {"temperature", "top_k", "top_p", "seed"}
    search = {name: value for name, value in generation.items() if parts.generation.sample or name not in sampling}
    settings = [("Photos", _list(pixels)), ("Search", _list(search))]
    if ids is not None:
        settings.append(("Ids", f"start {ids.bos_id}, end {ids.eos_id}, padding {ids.pad_id}"))
    return settings


def _list(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
