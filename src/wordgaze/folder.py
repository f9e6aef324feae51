"""Model folders: saved whole or not at all, and checked as they are loaded.

A folder holds ``config.json``, ``model.safetensors``, ``tokenizer.json``, ``preprocessor.json``,
``generation.json`` and ``README.md``, the card; of a calibrated model also ``confidence.json``. Nothing is ever
unpickled. Only the model itself needs torch: :func:`read_parts` reads the rest without importing it.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from wordgaze.data.transform import Preprocessing
from wordgaze.errors import ConfigError, ModelError, WordgazeError, first_line, shown
from wordgaze.files import checked_path
from wordgaze.generation.confidence import Confidence
from wordgaze.generation.limits import check_fits
from wordgaze.generation.options import GenerationOptions, whole_number
from wordgaze.model.config import CaptionModelConfig
from wordgaze.text.tokenizer import CaptionTokenizer, SpecialIds

if TYPE_CHECKING:
    import torch

    from wordgaze.model.caption_model import CaptionModel

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
TOKENIZER = "tokenizer.json"
PREPROCESSOR = "preprocessor.json"
GENERATION = "generation.json"
CONFIDENCE = "confidence.json"
EXPORT = "onnx.json"
ONNX_FILES = ("encoder.onnx", "patches.onnx", "decoder.onnx")
CARD = "README.md"
FILES = (WEIGHTS, TOKENIZER, PREPROCESSOR, GENERATION, CARD, CONFIG)
"""What a model folder holds, in the order of saving: a folder without its config is not yet a model.
A calibrated one's ``CONFIDENCE`` comes beside them; an exported one has ``EXPORT`` and ONNX files for ``WEIGHTS``."""

_MOST_BYTES = {TOKENIZER: 2**27, CARD: 2**24}
_MOST_BYTES_OF_OTHERS = 2**24
"""Many times what they ever hold: a folder of strangers must not fill the memory."""
_MOST_PIXELS = 4096**2  # of the encoder's input

_SPECIAL_IDS = ("decoder_start_token_id", "eos_token_id", "pad_token_id")
"""``SpecialIds`` in ``GENERATION``, by transformers' names; without them the tokenizer finds its own by name."""

_DTYPES = ("float32", "float16")
_AGAIN = "save or download the model again"
_SAME = "take both files from the same model"
_Value = TypeVar("_Value")


class Parts(Protocol):
    """What surrounds a model, whichever library runs it."""

    @property
    def config(self) -> CaptionModelConfig: ...
    @property
    def tokenizer(self) -> CaptionTokenizer: ...
    @property
    def preprocessing(self) -> Preprocessing: ...
    @property
    def generation(self) -> GenerationOptions: ...
    @property
    def confidence(self) -> Confidence | None: ...


@dataclass
class FolderParts:
    """What a model folder holds but the model; ``card`` is its README.md, ``confidence`` None if never calibrated."""

    config: CaptionModelConfig
    tokenizer: CaptionTokenizer
    preprocessing: Preprocessing
    generation: GenerationOptions
    card: str | None = None
    confidence: Confidence | None = None


@dataclass
class ModelParts:
    """All that a model folder holds, ready to use; ``card`` and ``confidence`` as of :class:`FolderParts`."""

    model: CaptionModel
    tokenizer: CaptionTokenizer
    preprocessing: Preprocessing
    generation: GenerationOptions
    card: str | None = None
    confidence: Confidence | None = None

    @property
    def config(self) -> CaptionModelConfig:
        return self.model.config


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
    _check_size(parts, folder)
    check_target(folder, parts.tokenizer)
    from wordgaze.model.weights import weights_file

    weights = weights_file(parts.model, dtype)
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


def refuse_foreign(folder: Path) -> None:
    """Raise ModelError where a folder holds another library's checkpoint."""
    if is_foreign(folder):
        raise ModelError(
            f"{folder} holds a checkpoint of another library; make a model folder of it first, with "
            f"`wordgaze convert {folder} OUT`."
        )


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
        if not path.is_file() or path.stat().st_size > _MOST_BYTES_OF_OTHERS:
            return set()
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, RecursionError, ValueError):
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
    if is_exported(folder):
        raise ModelError(
            f"{folder} holds an exported model ({EXPORT}), which torch can't load; name the model folder that it was "
            "made of, or run it with `--backend onnx`."
        )
    parts = read_parts(folder, WEIGHTS)
    from wordgaze.model.weights import load_weights

    _check_claims(parts.config, folder / WEIGHTS)
    model = _build(parts.config, folder / CONFIG, (folder / WEIGHTS).stat().st_size)
    loaded = ModelParts(model, parts.tokenizer, parts.preprocessing, parts.generation, parts.card, parts.confidence)
    _check_size(loaded, folder)
    load_weights(model, folder / WEIGHTS)
    model.eval().to(device)
    return loaded


def is_exported(folder: str | os.PathLike[str]) -> bool:
    """Return whether a folder holds a model as ``wordgaze export`` writes it."""
    return (Path(folder) / EXPORT).is_file()


def read_parts(folder: str | os.PathLike[str], *others: str) -> FolderParts:
    """Read all of a model folder but its model, for which it must have the files ``others``.

    Raises ModelError, which names the file, when one is missing, damaged or does not fit the others.
    """
    folder = checked_path("folder", folder)
    if not folder.is_dir():
        problem = (
            "is a file, not a model folder; name the folder" if folder.exists() else "does not exist; check the path"
        )
        raise ModelError(f"The model folder {folder} {problem}.")
    _check_files(folder)
    refuse_foreign(folder)
    for file in (CONFIG, *others, TOKENIZER, PREPROCESSOR, GENERATION):
        if not (folder / file).is_file():
            raise ModelError(f"{folder} has no {file}, so it is not a whole model folder; {_AGAIN}.")
    config = _read(folder / CONFIG, CaptionModelConfig.from_dict)
    generation, special_ids = _read(folder / GENERATION, _generation_from_dict)
    parts = FolderParts(
        config=config,
        tokenizer=CaptionTokenizer.load(folder / TOKENIZER, special_ids),
        preprocessing=_read(folder / PREPROCESSOR, Preprocessing.from_dict),
        generation=generation,
        card=_read_card(folder / CARD),
        confidence=_read(folder / CONFIDENCE, Confidence.from_dict) if (folder / CONFIDENCE).is_file() else None,
    )
    _check_pixels(parts.preprocessing.size, folder / PREPROCESSOR)
    _check_fit(parts, folder)
    return parts


def _check_files(folder: Path) -> None:
    """Raise ModelError for files that lie outside the folder, through a link, and for those larger than can be."""
    home = folder.resolve()
    # Where the hub's cache keeps the files that its folders link to.
    homes = [home, *([home.parents[1] / "blobs"] if home.parent.name == "snapshots" else [])]
    for name in (*FILES, CONFIDENCE, EXPORT, *ONNX_FILES):
        path = folder / name
        try:
            outside = not any(path.resolve().is_relative_to(inside) for inside in homes)
            size = path.stat().st_size if path.is_file() else 0
        except (OSError, RuntimeError):  # links that lead to each other
            continue
        if path.is_symlink() and outside:
            raise ModelError(
                f"{path} is a link out of the model folder, which is not followed; put the file itself there."
            )
        most = _MOST_BYTES.get(name, _MOST_BYTES_OF_OTHERS)
        if name not in (WEIGHTS, *ONNX_FILES) and size > most:
            raise ModelError(f"{path} has {size:,} bytes, more than the {most:,} of any such file; {_AGAIN}.")


def _check_claims(config: CaptionModelConfig, weights: Path) -> None:
    """Raise ModelError for sizes in ``config`` that the file of weights can't hold: building them may take for ever."""
    path, there = weights.with_name(CONFIG), weights.stat().st_size
    _check_pixels(config.encoder.image_size or (1, 1), path)
    needed = _least_numbers(config)
    if needed > there:
        raise ModelError(
            f"{path} describes a model of at least {shown(needed)} numbers, and {WEIGHTS} has only {there:,} bytes; "
            f"{_SAME}, or download it again."
        )


def _check_pixels(size: tuple[int, int], path: Path) -> None:
    height, width = size
    if height * width > _MOST_PIXELS:
        raise ModelError(
            f"{path} says photos of {shown(height)} x {shown(width)} pixels, more than the {_MOST_PIXELS:,} allowed; "
            f"{_AGAIN}."
        )


def _least_numbers(config: CaptionModelConfig) -> int:
    """Return how many numbers a model has at least; a file holds each in a byte or more."""
    vit, encoder, decoder = config.encoder.vit, config.encoder, config.decoder
    # A layer's attention has four matrices, and its MLP two.
    needed = decoder.width * (decoder.vocab_size + decoder.positions)
    needed += decoder.layers * decoder.width * (4 * decoder.width + 2 * (decoder.mlp_width or 0) + decoder.states_width)
    needed += encoder.blocks * 4 * encoder.width**2
    if vit is not None:
        needed += vit.layers * vit.width * (4 * vit.width + 2 * vit.mlp_width) + vit.num_prefix_tokens * vit.width
    return int(needed)


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
    except (RecursionError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelError(f"{path} is damaged: not valid JSON ({first_line(error)}); {_AGAIN}.") from error
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:  # a value of the wrong kind
        raise ModelError(f"{path} is damaged: a value makes no sense ({first_line(error)}); {_AGAIN}.") from error


def _read_card(path: Path) -> str | None:
    # A model works without its card.
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None


def _build(config: CaptionModelConfig, path: Path, most: int) -> CaptionModel:
    """Return a model without values, of at most ``most`` numbers."""
    from wordgaze.model.empty import empty_model

    try:
        return empty_model(config, most)
    except WordgazeError as error:
        raise ModelError(f"{path} does not describe a model: {_with_remedy(error)}") from error
    except (ArithmeticError, LookupError, MemoryError, RuntimeError, TypeError, ValueError) as error:
        raise ModelError(f"No model can be built from {path} ({first_line(error)}); {_AGAIN}.") from error


def _check_fit(parts: Parts, folder: Path) -> None:
    """Raise ModelError when the tokenizer or the generation defaults belong to another model."""
    decoder, tokenizer = parts.config.decoder, parts.tokenizer
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
    try:
        check_fits(parts.generation, decoder, len(tokenizer.encode_prompt(parts.generation.prompt)))
    except ConfigError as error:
        raise ModelError(f"{folder}: {GENERATION} does not fit {CONFIG}: {error}") from error


def _check_size(parts: ModelParts, folder: Path) -> None:
    """Raise ModelError when the preprocessing belongs to another model."""
    expected = tuple(parts.model.preprocessing_defaults()["size"])
    if parts.preprocessing.size != expected:
        raise ModelError(
            f"{folder}: {PREPROCESSOR} makes photos of size {parts.preprocessing.size} (height, width) but "
            f"the model of {CONFIG} takes {expected}; {_SAME}."
        )


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
