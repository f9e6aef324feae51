"""Model folders: saved whole or not at all, and checked as they are loaded.

A folder holds ``config.json``, ``model.safetensors``, ``tokenizer.json``, ``preprocessor.json``,
``generation.json`` and ``README.md``, the card; of a calibrated model also ``confidence.json``. Nothing is ever
unpickled.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from wordgaze.data.transform import Preprocessing
from wordgaze.errors import ConfigError, ModelError, WordgazeError, first_line, shown
from wordgaze.files import checked_path
from wordgaze.generation.confidence import Confidence
from wordgaze.generation.limits import check_fits
from wordgaze.generation.options import GenerationOptions, whole_number
from wordgaze.model.caption_model import CaptionModel
from wordgaze.model.config import CaptionModelConfig
from wordgaze.model.empty import assign, empty_model
from wordgaze.text.tokenizer import CaptionTokenizer, SpecialIds

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
TOKENIZER = "tokenizer.json"
PREPROCESSOR = "preprocessor.json"
GENERATION = "generation.json"
CONFIDENCE = "confidence.json"
CARD = "README.md"
FILES = (WEIGHTS, TOKENIZER, PREPROCESSOR, GENERATION, CARD, CONFIG)
"""What a model folder holds, in the order of saving: a folder without its config is not yet a model.
A calibrated one's ``CONFIDENCE`` comes beside them."""

_SPECIAL_IDS = ("decoder_start_token_id", "eos_token_id", "pad_token_id")
"""``SpecialIds`` in ``GENERATION``, by transformers' names; without them the tokenizer finds its own by name."""

_DTYPES = {"float32": torch.float32, "float16": torch.float16}
_AGAIN = "save or download the model again"
_SAME = "take both files from the same model"
_Value = TypeVar("_Value")


@dataclass
class ModelParts:
    """What a model folder holds, ready to use; ``card`` is its README.md, ``confidence`` None if never calibrated."""

    model: CaptionModel
    tokenizer: CaptionTokenizer
    preprocessing: Preprocessing
    generation: GenerationOptions
    card: str | None = None
    confidence: Confidence | None = None


def save_folder(
    parts: ModelParts, folder: str | os.PathLike[str], *, card: str | None = None, dtype: str = "float32"
) -> None:
    """Write a model folder, whole or not at all: an interrupted save leaves no folder that loads.

    ``card``: the text of README.md, by default that of ``parts``, or a plain description. ``dtype``:
    ``float32``, or ``float16`` for half the size. Raises ModelError when the parts don't fit each other or
    can't be written, and where they would be written over files that are no model's of ours.
    """
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise ConfigError(f"A model can't be saved as {shown(dtype)}; choose {' or '.join(_DTYPES)}.")
    folder = checked_path("folder", folder)
    _check_fit(parts, folder)
    check_target(folder, parts.tokenizer)
    weights = save(_weights(parts.model, dtype), metadata={"format": "pt"})
    texts = {
        PREPROCESSOR: _to_json(parts.preprocessing.to_dict()),
        GENERATION: _to_json(parts.generation.to_dict() | _ids_to_dict(parts.tokenizer.special_ids)),
        CARD: card or parts.card or _plain_card(parts),
        CONFIG: _to_json(parts.model.config.to_dict()),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".saving-", dir=folder) as temporary:
            new = Path(temporary)
            (new / WEIGHTS).write_bytes(weights)
            parts.tokenizer.save(new / TOKENIZER)
            for file, text in texts.items():
                (new / file).write_text(text, encoding="utf-8")
            for file in FILES:
                _sync(new / file)
            # Between here and the last line there is no config, so no mixture of two models can be loaded.
            (folder / CONFIG).unlink(missing_ok=True)
            save_confidence(parts.confidence, folder)
            for file in FILES:
                os.replace(new / file, folder / file)
    except OSError as error:
        reason = error.strerror or error
        raise ModelError(f"The model can't be saved in {folder}: {reason}; choose another folder.") from error


def check_target(folder: str | os.PathLike[str], tokenizer: CaptionTokenizer | None = None) -> None:
    """Raise ModelError when saving a model in ``folder`` would replace files that are no model's of ours.

    A folder with a model of ours may get another, also one whose saving was interrupted; other files stay as they are.
    Training keeps its ``tokenizer`` in the folder before there is a model: the same one may be written again.
    """
    folder = Path(folder)
    there = [name for name in (CONFIG, *FILES, CONFIDENCE) if os.path.lexists(folder / name)]
    if there == [TOKENIZER] and tokenizer is not None and tokenizer.is_saved_in(folder / TOKENIZER):
        return
    if there and not is_ours(folder):
        raise ModelError(
            f"{folder} holds a {there[0]} and is not a model folder of wordgaze: the model would replace it; "
            "choose another folder, or an empty one."
        )


def is_foreign(folder: str | os.PathLike[str]) -> bool:
    """Return whether a folder holds another library's checkpoint, in Hugging Face's layout."""
    keys = _keys(Path(folder) / CONFIG)
    return "format_version" not in keys and bool({"model_type", "architectures"} & keys)


def is_ours(folder: str | os.PathLike[str]) -> bool:
    """Return whether a folder holds a model of ours, or what an interrupted save has left of one."""
    folder = Path(folder)
    if (folder / CONFIG).exists():
        return {"format_version", "encoder", "decoder"} <= _keys(folder / CONFIG)
    # Without a config: what an interrupted save leaves.
    return any(folder.glob(".saving-*")) or (
        "crop" in _keys(folder / PREPROCESSOR) and "num_beams" in _keys(folder / GENERATION)
    )


def _keys(path: Path) -> set[str]:
    """Return the names in a JSON object; none where it can't be read, or is no object."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return set()
    return set(values) if isinstance(values, dict) else set()


def save_confidence(confidence: Confidence | None, folder: str | os.PathLike[str]) -> None:
    """Write a model folder's ``confidence.json`` whole or not at all, or remove it; raise ModelError where it can't."""
    path = Path(folder) / CONFIDENCE
    try:
        if confidence is None:
            path.unlink(missing_ok=True)
            return
        new = path.with_name(f".{path.name}.new")
        new.write_text(_to_json(confidence.to_dict()), encoding="utf-8")
        _sync(new)
        os.replace(new, path)
    except OSError as error:
        raise ModelError(f"{path} can't be written ({error.strerror or error}); check the folder.") from error


def load_folder(folder: str | os.PathLike[str], device: str | torch.device = "cpu") -> ModelParts:
    """Read a model folder; weights become float32 on ``device``, and the model is in evaluation mode.

    Raises ModelError, which names the file, when one is missing, damaged or does not fit the others.
    """
    folder = checked_path("folder", folder)
    if not folder.is_dir():
        problem = (
            "is a file, not a model folder; name the folder" if folder.exists() else "does not exist; check the path"
        )
        raise ModelError(f"The model folder {folder} {problem}.")
    if is_foreign(folder):
        raise ModelError(
            f"{folder} holds a checkpoint of another library; make a model folder of it first, with "
            f"`wordgaze convert {folder} OUT`."
        )
    for file in (CONFIG, WEIGHTS, TOKENIZER, PREPROCESSOR, GENERATION):
        if not (folder / file).is_file():
            raise ModelError(f"{folder} has no {file}, so it is not a whole model folder; {_AGAIN}.")
    config = _read(folder / CONFIG, CaptionModelConfig.from_dict)
    generation, special_ids = _read(folder / GENERATION, _generation_from_dict)
    parts = ModelParts(
        model=_build(config, folder / CONFIG),
        tokenizer=CaptionTokenizer.load(folder / TOKENIZER, special_ids),
        preprocessing=_read(folder / PREPROCESSOR, Preprocessing.from_dict),
        generation=generation,
        card=_read_card(folder / CARD),
        confidence=_read(folder / CONFIDENCE, Confidence.from_dict) if (folder / CONFIDENCE).is_file() else None,
    )
    _check_fit(parts, folder)
    _load_weights(parts.model, folder / WEIGHTS)
    parts.model.eval().to(device)
    return parts


def _generation_from_dict(values: dict[str, Any]) -> tuple[GenerationOptions, SpecialIds | None]:
    ids = {name: values[name] for name in _SPECIAL_IDS if name in values}
    options = GenerationOptions.from_dict({name: value for name, value in values.items() if name not in ids})
    if not ids:
        return options, None
    rule = "an id, a whole number of at least 0"
    return options, SpecialIds(*(whole_number(name, ids.get(name), rule, 0) for name in _SPECIAL_IDS))


def _ids_to_dict(ids: SpecialIds | None) -> dict[str, int]:
    return {} if ids is None else dict(zip(_SPECIAL_IDS, astuple(ids), strict=True))


def _read(path: Path, parse: Callable[[dict[str, Any]], _Value]) -> _Value:
    """Return a JSON object, parsed; raise ModelError, which names the file."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ModelError(f"{path} is damaged: it holds no JSON object; {_AGAIN}.")
        return parse(values)
    except OSError as error:
        raise ModelError(f"{path} can't be read ({error.strerror or error}); check its permissions.") from error
    except ConfigError as error:
        raise ModelError(f"{path} does not describe a model: {_with_remedy(error)}") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelError(f"{path} is damaged: not valid JSON ({first_line(error)}); {_AGAIN}.") from error
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:  # a value of the wrong kind
        raise ModelError(f"{path} is damaged: a value makes no sense ({first_line(error)}); {_AGAIN}.") from error


def _read_card(path: Path) -> str | None:
    # A model works without its card.
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None


def _build(config: CaptionModelConfig, path: Path) -> CaptionModel:
    try:
        return empty_model(config)
    except WordgazeError as error:
        raise ModelError(f"{path} does not describe a model: {_with_remedy(error)}") from error
    except (ArithmeticError, LookupError, MemoryError, RuntimeError, TypeError, ValueError) as error:
        raise ModelError(f"No model can be built from {path} ({first_line(error)}); {_AGAIN}.") from error


def _check_fit(parts: ModelParts, folder: Path) -> None:
    """Raise ModelError when the tokenizer, preprocessing or generation defaults belong to another model."""
    decoder, tokenizer = parts.model.config.decoder, parts.tokenizer
    # With ids of its own a model may have more embeddings than its tokenizer has entries.
    different = tokenizer.special_ids is None and tokenizer.vocab_size != decoder.vocab_size
    if different or tokenizer.vocab_size > decoder.vocab_size:
        raise ModelError(
            f"{folder}: {TOKENIZER} has {tokenizer.vocab_size} tokens but {CONFIG} says {decoder.vocab_size}; {_SAME}."
        )
    for name, token_id in _ids_to_dict(tokenizer.special_ids).items():
        if token_id >= decoder.vocab_size:
            raise ModelError(
                f"{folder}: {GENERATION} has {name} {token_id}, and {CONFIG} says {decoder.vocab_size} tokens; {_SAME}."
            )
    expected = tuple(parts.model.preprocessing_defaults()["size"])
    if parts.preprocessing.size != expected:
        raise ModelError(
            f"{folder}: {PREPROCESSOR} makes photos of size {parts.preprocessing.size} (height, width) but "
            f"the model of {CONFIG} takes {expected}; {_SAME}."
        )
    try:
        check_fits(parts.generation, decoder, len(tokenizer.encode_prompt(parts.generation.prompt)))
    except ConfigError as error:
        raise ModelError(f"{folder}: {GENERATION} does not fit {CONFIG}: {error}") from error


def _weights(model: CaptionModel, dtype: str) -> dict[str, Tensor]:
    """Return the model's tensors on the CPU, floats in ``dtype``; the state holds tied ones once."""
    weights = {}
    for name, tensor in model.state_dict().items():
        tensor = tensor.detach().cpu()
        if tensor.is_floating_point():
            if not tensor.isfinite().all():
                raise ModelError(f"The model's {name} holds values that are not finite; train it again.")
            tensor = tensor.to(_DTYPES[dtype])
            if not tensor.isfinite().all():
                raise ModelError(f"The model's {name} holds values too large for {dtype}; save it as float32.")
        weights[name] = tensor.contiguous()
    return weights


def _load_weights(model: CaptionModel, path: Path) -> None:
    """Give ``model`` the tensors of ``path``, converted to float32, one after the other."""
    try:
        # Not mapped into memory: pages of the file would stay there beside the model.
        file: Any = safe_open(path, framework="pt", backend="pread")
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 (no mapping)
        _check_names(model, shapes, path)
        weights = {name: file.get_tensor(name) for name in shapes}
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{path} is damaged or not a safetensors file ({first_line(error)}); {_AGAIN}.") from error
    for name, tensor in weights.items():
        if tensor.is_floating_point():
            weights[name] = tensor.float()
            if not weights[name].isfinite().all():
                raise ModelError(f"{path} is damaged: {name} holds values that are not finite; {_AGAIN}.")
    assign(model, weights)


def _check_names(model: CaptionModel, shapes: Mapping[str, tuple[int, ...]], path: Path) -> None:
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    problems = [f"no tensor {name}" for name in expected.keys() - shapes.keys()]
    problems += [f"an unknown tensor {name}" for name in shapes.keys() - expected.keys()]
    problems += [
        f"{name} of shape {shapes[name]} instead of {shape}"
        for name, shape in expected.items()
        if name in shapes and shapes[name] != shape
    ]
    if problems:
        more = f" and {len(problems) - 1} more differences" if len(problems) > 1 else ""
        raise ModelError(f"{path} does not fit {CONFIG}: it has {min(problems)}{more}; {_SAME}.")


def _plain_card(parts: ModelParts) -> str:
    """Return a card that says what a model's parts tell, with the hub's front matter."""
    config = parts.model.config
    height, width = parts.preprocessing.size
    millions = sum(parameter.numel() for parameter in parts.model.parameters()) / 1e6
    return (
        "---\nlibrary_name: wordgaze\npipeline_tag: image-to-text\ntags:\n- image-captioning\n---\n\n"
        "# A wordgaze captioner\n\n"
        f"Encoder {config.encoder.name} at {height} x {width}, {config.decoder.layers} decoder layers of "
        f"width {config.decoder.width}, {config.decoder.vocab_size} tokens, {millions:.1f} M parameters.\n\n"
        "Data, command and scores were not recorded.\n"
    )


def _to_json(values: dict[str, Any]) -> str:
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _with_remedy(error: WordgazeError) -> str:
    """Return the sentence, with a remedy where it has none itself."""
    sentence = str(error).rstrip(".")
    return f"{sentence}." if ";" in sentence else f"{sentence}; {_AGAIN}."
