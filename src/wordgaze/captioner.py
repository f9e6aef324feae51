"""Captioner: the three-line API over the whole way from a photo to its caption and its maps."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np
import torch
from huggingface_hub import ModelHubMixin
from PIL import Image
from torch import Tensor

from wordgaze import hub
from wordgaze.data.photos import PhotoSource, open_photo
from wordgaze.data.transform import Geometry, PhotoTransform
from wordgaze.errors import ConfigError, PhotoError
from wordgaze.explanation import overlay
from wordgaze.explanation.evidence import evidence, is_grounded
from wordgaze.explanation.methods import (
    DEFAULT_METHOD,
    WordMaps,
    available_methods,
    find_method,
    word_maps,
)
from wordgaze.explanation.report import ReportItem, ReportWord, html_frame, html_report
from wordgaze.generation.confidence import caption_features
from wordgaze.generation.options import GenerationOptions
from wordgaze.generation.result import GeneratedCaption
from wordgaze.generation.search import check_fits, generate

BATCH_SIZE = 16
"""Photos at a time, unless said otherwise."""

EXPLANATION_SUFFIXES = (".png", ".html", ".json", ".npz")

_PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_Item = TypeVar("_Item")


@dataclass(frozen=True)
class CaptionWord:
    """A word and its probability: the product over its tokens, each given the photo and all before it."""

    text: str
    probability: float


@dataclass(frozen=True)
class Caption:
    """What the model says of a photo; ``str()`` is the text.

    ``log_probability``: natural logarithm, of all tokens with the end token. ``alternatives``: the next best, best
    first, when several captions were asked for. ``confidence``: how likely it is right, in [0, 1], as measured for the
    best caption of the model's own search; None for other captions, and where the model has no ``confidence.json``.
    """

    text: str
    log_probability: float
    words: tuple[CaptionWord, ...]
    alternatives: tuple[Caption, ...] = ()
    confidence: float | None = None

    def __str__(self) -> str:
        return self.text

    def features(self) -> tuple[float, ...]:
        """What the confidence is made of (:mod:`wordgaze.generation.confidence`)."""
        return caption_features(self.log_probability, [word.probability for word in self.words])

    def to_dict(self) -> dict[str, Any]:
        """What ``wordgaze caption --json`` prints of it."""
        return {
            "caption": self.text,
            "log_probability": self.log_probability,
            **({} if self.confidence is None else {"confidence": self.confidence}),
            "words": [{"word": word.text, "probability": word.probability} for word in self.words],
            "alternatives": [
                {name: value for name, value in caption.to_dict().items() if name != "alternatives"}
                for caption in self.alternatives
            ],
        }


@dataclass(frozen=True, eq=False)
class ExplainedWord:
    """A word and where the model looked for it.

    ``map`` (H_p, W_p) float32, sums to one over the patches. ``entropy``: of the map, in bits. ``peak``: (x, y), the
    photo pixel under the center of the highest of the patches that show any photo. ``evidence``: in bits, how much
    likelier the photo made the word; ``grounded``: whether the map may be read as what the word stands for
    (:mod:`wordgaze.explanation.evidence`).
    """

    text: str
    probability: float
    entropy: float
    map: np.ndarray
    peak: tuple[int, int]
    evidence: float
    grounded: bool


@dataclass(frozen=True, eq=False)
class Explanation:
    """A caption and, for each of its words, a map over the photo.

    ``photo``: upright, RGB. ``geometry`` lays a map over the photo's own pixels: ``geometry.place(word.map)``.
    ``grid_size``: patches down and across, (H_p, W_p). ``words_attention`` (words, 1 + words): what each word paid of
    self-attention to the caption's start and to the words before it. ``raw``: maps are the method's softmax rows as
    they are. ``name``: the photo's file name, if it has one.
    """

    caption: Caption
    words: tuple[ExplainedWord, ...]
    photo: Image.Image
    geometry: Geometry
    grid_size: tuple[int, int]
    method: str
    words_attention: np.ndarray
    raw: bool = False
    name: str = "photo"

    def grid(self) -> Image.Image:
        """The photo, then the photo under each word's map."""
        words = self.words
        return overlay.grid(
            self.photo,
            [word.text for word in words],
            [word.map for word in words],
            self.geometry,
            [word.probability for word in words],
            [word.grounded for word in words],
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a .png (the grid), .html (a page), .json or .npz (the numbers); ConfigError for other suffixes."""
        path = Path(path)
        suffix = explanation_suffix(path)
        if suffix == ".png":
            self.grid().save(path)
        elif suffix == ".html":
            path.write_text(html_report([self.report_item()]), encoding="utf-8", errors="replace")
        elif suffix == ".json":
            path.write_text(json.dumps(self.to_dict(), ensure_ascii=False) + "\n", encoding="utf-8")
        else:
            with path.open("wb") as file:  # given a path, NumPy would add its suffix to .NPZ
                np.savez_compressed(file, allow_pickle=False, **self.to_arrays())

    def report_item(self) -> ReportItem:
        """What :func:`wordgaze.explanation.report.html_report` makes a page of, alone or with others."""
        words = tuple(
            ReportWord(word.text, word.probability, word.entropy, word.map, word.grounded, paid.tolist())
            for word, paid in zip(self.words, self.words_attention, strict=True)
        )
        caption = self.caption
        return ReportItem(self.photo, self.name, caption.text, words, self.geometry, caption.log_probability)

    def to_dict(self) -> dict[str, Any]:
        """The numbers as JSON has them; maps are lists of rows, the top row first."""
        values = self.caption.to_dict()
        values["words"] = [
            {
                "word": word.text,
                "probability": word.probability,
                "entropy": word.entropy,
                "evidence": word.evidence,
                "grounded": word.grounded,
                "peak": list(word.peak),
                "map": _short(word.map),
            }
            for word in self.words
        ]
        return {
            **values,
            "method": self.method,
            "raw": self.raw,
            "words_attention": _short(self.words_attention),
            "photo_size": list(self.geometry.photo_size),
            "input_size": list(self.geometry.input_size),
            "box": list(self.geometry.box),
        }

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The numbers as NumPy arrays: ``maps`` (words, H_p, W_p), ``peaks`` (words, 2) and one value a word else."""
        words = self.words
        return {
            "caption": np.array(self.caption.text),
            "log_probability": np.array(self.caption.log_probability),
            "method": np.array(self.method),
            "raw": np.array(self.raw),
            "words_attention": self.words_attention,
            "words": np.array([word.text for word in words], dtype=str),
            "probabilities": np.array([word.probability for word in words], np.float32),
            "entropies": np.array([word.entropy for word in words], np.float32),
            "evidence": np.array([word.evidence for word in words], np.float32),
            "grounded": np.array([word.grounded for word in words], bool),
            "peaks": np.array([word.peak for word in words], np.int64).reshape(-1, 2),
            "maps": np.array([word.map for word in words], np.float32).reshape(len(words), *self.grid_size),
            "photo_size": np.array(self.geometry.photo_size),
            "input_size": np.array(self.geometry.input_size),
            "box": np.array(self.geometry.box),
        }

    def _repr_html_(self) -> str:
        """The report in a frame, for notebooks."""
        return html_frame([self.report_item()])


def _short(rows: np.ndarray) -> list[list[float]]:
    """Lists for JSON, of six digits: float32 has no more to say."""
    return [[float(f"{value:.6g}") for value in row] for row in rows]


def explanation_suffix(path: str | os.PathLike[str]) -> str:
    """What :meth:`Explanation.save` makes of a path; raises ConfigError when it can't tell."""
    suffix = Path(path).suffix.lower()
    if suffix not in EXPLANATION_SUFFIXES:
        raise ConfigError(
            f"{os.fspath(path)}: can't tell what to write; end it in {', '.join(EXPLANATION_SUFFIXES)}."
        )
    return suffix


def choose_device(device: str | torch.device | None = "auto") -> torch.device:
    """``auto`` (or None): CUDA, then Apple's MPS, then the CPU; raises ConfigError when a device is not there."""
    if device is None or device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (AssertionError, NotImplementedError, RuntimeError):  # torch's ways to say that it has none
        raise ConfigError(
            f"The device {str(device)!r} is not there for this torch; use auto or cpu."
        ) from None
    return chosen


class Captioner(
    ModelHubMixin, library_name="wordgaze", pipeline_tag="image-to-text", tags=["image-captioning"]
):
    """A model with its tokenizer, photo transform and defaults, ready to caption and to explain.

        captioner = Captioner.from_pretrained()
        print(captioner.caption("photo.jpg"))
        captioner.explain("photo.jpg").save("maps.png")

    ``device``: ``auto`` (CUDA, then Apple's MPS, then the CPU) or a torch device. ``precision``: ``float32``,
    ``bfloat16`` or ``float16``, of the arithmetic; weights stay float32. ``mirrored``: whether a photo is seen a second
    time, mirrored, for perhaps better captions in about 1.4 times the time; None: as the model has it. Raises
    ConfigError for a device or precision that can't be had.
    """

    _hub_mixin_config: dict[str, Any] = {}  # noqa: RUF012  (set, or the mixin would copy the whole model as its config)

    def __init__(
        self,
        parts: hub.ModelParts,
        device: str | torch.device | None = "auto",
        precision: str = "float32",
        mirrored: bool | None = None,
    ) -> None:
        self.device = choose_device(device)
        if precision not in _PRECISIONS:
            raise ConfigError(f"precision is {precision!r}; choose {', '.join(_PRECISIONS)}.")
        self.precision = precision
        if mirrored is not None:
            parts = replace(parts, preprocessing=replace(parts.preprocessing, mirrored=mirrored))
        self.parts = parts
        self.model = parts.model.eval().to(self.device)
        self.tokenizer = parts.tokenizer
        self.transform = PhotoTransform(parts.preprocessing)

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str] | None = None,
        device: str | torch.device | None = "auto",
        precision: str = "float32",
        mirrored: bool | None = None,
        *,
        force_download: bool = False,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        revision: str | None = None,
    ) -> Captioner:
        """The bundled model, a model folder, or a model of the hub (``owner/name``), which is downloaded once.

        Raises ModelError when it can't be had, ConfigError for a device or precision that can't.
        """
        # The mixin's own needs a name, and asks the network for config.json even when it is a mistyped path.
        return cls._from_pretrained(
            model_id=pretrained_model_name_or_path,
            revision=revision,
            cache_dir=cache_dir,
            force_download=force_download,
            local_files_only=local_files_only,
            token=token,
            device=device,
            precision=precision,
            mirrored=mirrored,
        )

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str | os.PathLike[str] | None,
        device: str | torch.device | None = "auto",
        precision: str = "float32",
        mirrored: bool | None = None,
        **download: Any,
    ) -> Captioner:
        chosen = choose_device(device)
        return cls(hub.load_folder(hub.resolve(model_id, **download), chosen), chosen, precision, mirrored)

    def _save_pretrained(self, save_directory: Path) -> None:
        hub.save_folder(self.parts, save_directory)

    @property
    def methods(self) -> tuple[str, ...]:
        """The names of the ways to make maps, of :mod:`wordgaze.explanation.methods`."""
        return available_methods(self.model.config.decoder.layers)

    def generation_options(self, **options: Any) -> GenerationOptions:
        """The model's defaults, overridden; raises ConfigError for an unknown name or a value that makes no sense."""
        known = [field.name for field in fields(GenerationOptions)]
        for name in options:
            if name not in known:
                close = get_close_matches(name, known, 1)
                hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}."
                raise ConfigError(f"There is no option {name!r}; {hint}")
        try:
            chosen = replace(self.parts.generation, **options)
        except TypeError as error:  # a text where a number belongs
            given = ", ".join(f"{name}={value!r}" for name, value in options.items())
            raise ConfigError(f"An option is of the wrong kind ({error}): {given}; give numbers.") from error
        check_fits(chosen, self.model.config.decoder.positions)
        return chosen

    @overload
    def caption(self, photo: PhotoSource, *, batch_size: int = BATCH_SIZE, **options: Any) -> Caption: ...

    @overload
    def caption(
        self,
        photo: Sequence[PhotoSource] | Iterator[PhotoSource],
        *,
        batch_size: int = BATCH_SIZE,
        **options: Any,
    ) -> list[Caption]: ...

    def caption(self, photo: Any, *, batch_size: int = BATCH_SIZE, **options: Any) -> Caption | list[Caption]:
        """A photo's caption, or those of several photos in their order.

        ``photo``: a path, a file's bytes, a binary file, a PIL image or an array; or a list or iterator of these,
        ``batch_size`` of which are captioned at a time. ``options``: the fields of ``GenerationOptions``. Raises
        PhotoError, which names the photo, when one can't be read, and ConfigError for options.
        """
        chosen = self.generation_options(**options)
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}; it must be at least 1.")
        several = isinstance(photo, list | tuple | Iterator) and not hasattr(photo, "read")
        if not several:
            return self.caption_pixels(self._open(photo, "the photo")[1][None], chosen)[0]
        captions: list[Caption] = []
        numbered = enumerate(photo, start=1)
        while batch := list(islice(numbered, batch_size)):
            pixel_values = [self._open(source, f"photo {number}")[1] for number, source in batch]
            captions += self.caption_pixels(torch.stack(pixel_values), chosen)
        return captions

    def encode(self, pixel_values: Tensor) -> Tensor:
        """``pixel_values`` (B, 3, H, W), photos that ``self.transform`` has made → what the words look at (B, N, D)."""
        pixel_values = pixel_values.to(self.device)
        if self.parts.preprocessing.mirrored:
            return self.model.encode_mirrored(pixel_values)
        return self.model.encode(pixel_values)

    def caption_pixels(self, pixel_values: Tensor, options: GenerationOptions) -> list[Caption]:
        """Captions of ``pixel_values`` (B, 3, H, W), photos that ``self.transform`` has made."""
        with self._inference():
            encoder_hidden_states = self.encode(pixel_values)
            found = self._generate(encoder_hidden_states, options)
        return [self._caption(captions, options) for captions in found]

    def explain(
        self,
        photo: PhotoSource,
        text: str | None = None,
        method: str | None = None,
        *,
        raw: bool = False,
        **options: Any,
    ) -> Explanation:
        """A photo's caption, or ``text``, with a map over the photo for each word.

        The maps come from one pass over the caption's own ids, with the weights that found it. ``method``: one of
        ``methods``, the first of them by default, a head (``layer-1-head-0``), or several joined by ``+``; ``raw``: the
        softmax rows of its layers, as they are. ``options``: as of :meth:`caption`. Raises PhotoError when the photo
        can't be read, ConfigError for an unknown method or option, and for a text that has no words or too many.
        """
        method = self._method(method)
        chosen = self.generation_options(**options)
        ids = None if text is None else self._ids(text)
        image, pixel_values, geometry = self._open(photo, "the photo")
        pixel_values = pixel_values[None].to(self.device)
        caption = None
        with self._inference():
            # Beside the photo one that shows nothing, for what the words owe to the photo.
            both = self.encode(torch.cat([pixel_values, torch.zeros_like(pixel_values)]))
            states, blank = both[:1], both[1:]
            if ids is None:
                found = self._generate(states, chosen)[0]
                ids, caption = list(found[0].token_ids), self._caption(found, chosen)
        spans = self.tokenizer.words(ids)
        with self._arithmetic():
            captions = [(ids, spans)]
            [maps] = word_maps(
                self.model,
                states,
                captions,
                method,
                raw=raw,
                pixel_values=pixel_values,
                mirrored=self.parts.preprocessing.mirrored,
            )
            bits = evidence(self.model, blank, ids, spans, maps.probabilities)
        if caption is None:
            words = map(CaptionWord, maps.words, maps.probabilities)
            caption = Caption(self.tokenizer.decode(ids), maps.log_probability, tuple(words))
        return Explanation(
            caption=caption,
            words=tuple(
                ExplainedWord(
                    text=maps.words[index],
                    probability=maps.probabilities[index],
                    entropy=maps.entropies[index],
                    map=maps.maps[index],
                    peak=overlay.peak(maps.maps[index], geometry),
                    evidence=bits[index],
                    grounded=is_grounded(maps.words[index], bits[index]),
                )
                for index in range(len(spans))
            ),
            photo=image,
            geometry=geometry,
            grid_size=self.model.grid,
            method=method,
            words_attention=maps.words_attention,
            raw=raw,
            name=Path(photo).name if isinstance(photo, str | os.PathLike) else "photo",
        )

    def explain_pixels(
        self,
        pixel_values: Tensor,
        texts: Sequence[Sequence[str]] | None = None,
        method: str | None = None,
        *,
        raw: bool = False,
        options: GenerationOptions | None = None,
    ) -> list[list[WordMaps]]:
        """For each of ``pixel_values`` (B, 3, H, W), the maps of its ``texts``, or those of the model's own caption.

        As :meth:`explain`, for many photos. ``options``: of the captions, by default the model's.
        """
        method = self._method(method)
        pixel_values = pixel_values.to(self.device)
        with self._inference():
            states = self.encode(pixel_values)
            if texts is None:
                found = self._generate(states, self.parts.generation if options is None else options)
                captions = [[list(best[0].token_ids)] for best in found]
            else:
                captions = [[self._ids(text) for text in some] for some in texts]
        with self._arithmetic():
            return [
                word_maps(
                    self.model,
                    states[index : index + 1],
                    [(ids, self.tokenizer.words(ids)) for ids in some],
                    method,
                    raw=raw,
                    pixel_values=pixel_values[index : index + 1],
                    mirrored=self.parts.preprocessing.mirrored,
                )
                for index, some in enumerate(captions)
            ]

    def _method(self, name: str | None) -> str:
        """The name of a method that this model has; the default for None."""
        name = DEFAULT_METHOD if name is None else name
        find_method(name, self.model.config.decoder.layers, self.model.config.decoder.heads)
        return name

    def _open(self, source: PhotoSource, name: str) -> tuple[Image.Image, Tensor, Geometry]:
        """The photo, its ``pixel_values`` (3, H, W) and how they were made."""
        try:
            photo = open_photo(source)
        except PhotoError as error:
            named = os.fspath(source) if isinstance(source, str | os.PathLike) else name
            raise PhotoError(f"{named}: {error}") from error
        return photo, *self.transform(photo)

    def _generate(
        self, encoder_hidden_states: Tensor, options: GenerationOptions
    ) -> list[list[GeneratedCaption]]:
        return generate(
            self.model,
            encoder_hidden_states,
            options,
            bos_id=self.tokenizer.bos_id,
            eos_id=self.tokenizer.eos_id,
            pad_id=self.tokenizer.pad_id,
        )

    def _ids(self, text: str) -> list[int]:
        ids = self.tokenizer.encode(text)
        longest = self.model.config.decoder.positions
        if len(ids) - 1 > longest:
            raise ConfigError(
                f"The text is {len(ids) - 1} tokens long, this model reads {longest} at most; shorten it."
            )
        if not self.tokenizer.words(ids):
            raise ConfigError(f"The text {text!r} holds no words; write a caption.")
        return ids

    def _caption(self, found: Sequence[GeneratedCaption], options: GenerationOptions) -> Caption:
        """The best of a photo's captions, the rest its alternatives."""
        best, *others = (
            Caption(self.tokenizer.decode(one.token_ids), one.log_probability, self._words(one))
            for one in found
        )
        confidence = None if options.sample else self.parts.confidence
        return replace(
            best,
            alternatives=tuple(others),
            confidence=None if confidence is None else confidence(best.features()),
        )

    def _words(self, found: GeneratedCaption) -> tuple[CaptionWord, ...]:
        chances = found.token_log_probabilities  # one shorter than the ids: none for the start token
        return tuple(
            CaptionWord(span.text, math.exp(sum(chances[span.start - 1 : span.stop - 1])))
            for span in self.tokenizer.words(found.token_ids)
        )

    @contextmanager
    def _inference(self) -> Iterator[None]:
        with torch.inference_mode(), self._arithmetic():
            yield

    @contextmanager
    def _arithmetic(self) -> Iterator[None]:
        lower = self.precision != "float32"
        cudnn = torch.backends.cudnn
        # Left alone, cuDNN convolves in TF32, whose ten bits of mantissa are no float32.
        exact = cudnn.flags(
            cudnn.enabled, cudnn.benchmark, deterministic=cudnn.deterministic, allow_tf32=False
        )
        with (
            torch.autocast(self.device.type, _PRECISIONS[self.precision], enabled=lower),
            exact if self.device.type == "cuda" else nullcontext(),
        ):
            yield
