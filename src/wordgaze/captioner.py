"""Captioner: the three-line API over the whole way from a photo to its caption and its maps."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence, Sized
from contextlib import AbstractContextManager, contextmanager
from dataclasses import fields, replace
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Any, Literal, overload

import torch
from huggingface_hub import ModelHubMixin
from PIL import Image
from torch import Tensor

from wordgaze.data.photos import PhotoSource, open_photo
from wordgaze.data.sources import Photos, photo_in, photos_of
from wordgaze.data.transform import Geometry, PhotoTransform
from wordgaze.device import arithmetic, check_precision, find_device, one_thread_after_fork
from wordgaze.errors import ConfigError, PhotoError, PhotoWarning, shown, warn, wrong_kind
from wordgaze.explanation import overlay
from wordgaze.explanation.evidence import evidence, is_grounded
from wordgaze.explanation.explanation import ExplainedWord, Explanation, source_file
from wordgaze.explanation.methods import (
    DEFAULT_METHOD,
    WordMaps,
    available_methods,
    find_method,
    word_maps,
)
from wordgaze.folder import ModelParts, load_folder, save_folder
from wordgaze.generation.caption import Caption, CaptionWord
from wordgaze.generation.limits import check_fits, check_memory, gigabytes, memory
from wordgaze.generation.options import GenerationOptions, whole_number, yes_or_no
from wordgaze.generation.result import GeneratedCaption
from wordgaze.generation.search import generate
from wordgaze.hub import resolve

__all__ = [
    "BATCH_SIZE",
    "Caption",
    "CaptionWord",
    "Captioner",
    "ExplainedWord",
    "Explanation",
    "choose_device",
]

BATCH_SIZE = 16
"""Photos at a time, unless said otherwise."""

# Whoever imports this will run torch, perhaps before a fork.
one_thread_after_fork()

_ENCODER_MEMORY = 20  # times that of its pixel values; measured on the bundled model's two networks


def choose_device(device: str | torch.device | None = "auto") -> torch.device:
    """Return the device; ``auto`` (or None) is CUDA, then Apple's MPS, then the CPU; raise ConfigError for others."""
    return torch.device(find_device(device))


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

    A process that is forked after this module was imported runs torch with one thread; with the others it would hang.
    To caption in several processes with several threads each, start them by ``spawn``.
    """

    _hub_mixin_config: dict[str, Any] = {}  # noqa: RUF012  (set, or the mixin would copy the whole model as its config)

    def __init__(
        self,
        parts: ModelParts,
        device: str | torch.device | None = "auto",
        precision: str = "float32",
        mirrored: bool | None = None,
    ) -> None:
        if not isinstance(parts, ModelParts):
            rule = "the parts of a model; a folder or name goes to Captioner.from_pretrained"
            raise wrong_kind("parts", parts, rule)
        self.device = choose_device(device)
        self.precision = check_precision(precision)
        if mirrored is not None:
            mirrored = yes_or_no("mirrored", mirrored)
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
        check_precision(precision)  # before a model is fetched for nothing
        return cls(load_folder(resolve(model_id, **download), chosen), chosen, precision, mirrored)

    def save_pretrained(
        self,
        save_directory: str | Path,
        *,
        repo_id: str | None = None,
        push_to_hub: bool = False,
        **push_to_hub_kwargs: Any,
    ) -> str | None:
        """Write a model folder, and with ``push_to_hub`` also that of the hub, ``repo_id`` (by default its own name).

        Raises ModelError when it can't be written, or would replace files that are no model's of ours.
        """
        # The mixin's own deletes config.json before anything is checked or written.
        save_folder(self.parts, save_directory)
        if not push_to_hub:
            return None
        push_to_hub_kwargs.pop("config", None)  # ours is in the folder
        name = Path(save_directory).name if repo_id is None else repo_id
        return self.push_to_hub(repo_id=name, **push_to_hub_kwargs)

    def _save_pretrained(self, save_directory: Path) -> None:
        save_folder(self.parts, save_directory)

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
        chosen = replace(self.parts.generation, **options)
        check_fits(chosen, self.model.config.decoder)
        self._check_memory(chosen, 1)
        return chosen

    @overload
    def caption(
        self,
        photo: PhotoSource | Tensor,
        *,
        batch_size: int = ...,
        on_error: Literal["raise"] = ...,
        strict: bool = ...,
        **options: Any,
    ) -> Caption: ...

    @overload
    def caption(
        self,
        photo: PhotoSource | Tensor,
        *,
        batch_size: int = ...,
        on_error: Literal["return"],
        strict: bool = ...,
        **options: Any,
    ) -> Caption | PhotoError: ...

    @overload
    def caption(
        self,
        photo: Photos,
        *,
        batch_size: int = ...,
        on_error: Literal["raise"] = ...,
        strict: bool = ...,
        **options: Any,
    ) -> list[Caption]: ...

    @overload
    def caption(
        self,
        photo: Photos,
        *,
        batch_size: int = ...,
        on_error: Literal["return"],
        strict: bool = ...,
        **options: Any,
    ) -> list[Caption | PhotoError]: ...

    def caption(
        self,
        photo: Any,
        *,
        batch_size: int = BATCH_SIZE,
        on_error: str = "raise",
        strict: bool = False,
        **options: Any,
    ) -> Any:
        """Return a photo's caption, or those of several photos in their order.

        ``photo``: a path, a file's bytes, a binary file, a PIL image, an array or a tensor; or any collection or
        iterator of these, ``batch_size`` of which are captioned at a time: a list, a generator, a dict's ``values()``,
        a torch dataset, an array (B, H, W, 3). Where an item is a tuple, the photo comes first, then its label.
        ``options``: the fields of ``GenerationOptions``.

        Raises PhotoError, which names the photo, when one can't be read; ``on_error="return"`` gives that error in the
        photo's place, and the rest goes on. What is doubtful about a photo is a PhotoWarning; ``strict`` refuses
        photos that are cut short. Raises ConfigError for options and arguments that make no sense.
        """
        chosen = self.generation_options(**options)
        strict = yes_or_no("strict", strict)
        if not isinstance(on_error, str) or on_error not in ("raise", "return"):
            raise ConfigError(f"on_error is {shown(on_error)}; choose raise or return.")
        photos = photos_of(photo)
        batch_size = self.check_batch(batch_size, [photo] if photos is None else photo, chosen)
        if photos is None:
            return self._captions([("the photo", photo)], chosen, strict, on_error)[0]
        numbered = ((f"photo {number}", source) for number, source in enumerate(photos, start=1))
        captions: list[Caption | PhotoError] = []
        while batch := self._captions(islice(numbered, batch_size), chosen, strict, on_error):
            captions += batch
        return captions

    def _captions(
        self, named: Iterable[tuple[str, Any]], options: GenerationOptions, strict: bool, on_error: str
    ) -> list[Caption | PhotoError]:
        """The captions of a batch of photos with their names, or what is wrong with a photo."""
        opened: list[Tensor | PhotoError] = []
        for name, source in named:
            try:
                opened.append(self._open(source, name, strict)[1])
            except PhotoError as error:
                if on_error == "raise":
                    raise
                opened.append(error)
        pixel_values = [pixels for pixels in opened if isinstance(pixels, Tensor)]
        captions = iter(self.caption_pixels(torch.stack(pixel_values), options) if pixel_values else ())
        return [pixels if isinstance(pixels, PhotoError) else next(captions) for pixels in opened]

    def _check_memory(self, options: GenerationOptions, photos: int) -> None:
        check_memory(options, self.model.config.decoder, photos, memory(self.device))

    def _check_pixels(self, pixel_values: Tensor) -> None:
        shape = (3, *self.parts.preprocessing.size)
        if not isinstance(pixel_values, Tensor) or tuple(pixel_values.shape[1:]) != shape:
            found = tuple(pixel_values.shape) if isinstance(pixel_values, Tensor) else pixel_values
            rule = f"a tensor (B, {', '.join(map(str, shape))}), photos that `transform` has made"
            raise wrong_kind("pixel_values", found, rule)

    def check_batch(
        self, batch_size: int, photos: Iterable[Any] = (), options: GenerationOptions | None = None
    ) -> int:
        """Return how many of ``photos`` are captioned at a time: ``batch_size``, or all where they are fewer.

        Raises ConfigError where ``batch_size`` is no number, or such a batch needs more memory than there is.
        ``options``: of the captions, by default the model's.
        """
        batch_size = whole_number("batch_size", batch_size, "a whole number of at least 1", 1)
        if isinstance(photos, Sized) and len(photos) > 0:
            batch_size = min(batch_size, len(photos))
        height, width = self.parts.preprocessing.size
        needed, available = batch_size * _ENCODER_MEMORY * 3 * height * width * 4, memory(self.device)
        if available is not None and needed > available:
            most = max(available * batch_size // needed, 1)
            raise ConfigError(
                f"batch_size is {shown(batch_size)}: looking at so many photos at a time would need about "
                f"{gigabytes(needed)} of memory, and there are {gigabytes(available)}; choose {most} at most."
            )
        self._check_memory(self.parts.generation if options is None else options, batch_size)
        return batch_size

    def encode(self, pixel_values: Tensor) -> Tensor:
        """``pixel_values`` (B, 3, H, W), photos that ``self.transform`` has made → what the words look at (B, N, D)."""
        pixel_values = pixel_values.to(self.device)
        if self.parts.preprocessing.mirrored:
            return self.model.encode_with_hflip(pixel_values)
        return self.model.encode(pixel_values)

    def caption_pixels(self, pixel_values: Tensor, options: GenerationOptions) -> list[Caption]:
        """Captions of ``pixel_values`` (B, 3, H, W), photos that ``self.transform`` has made."""
        self._check_pixels(pixel_values)
        if not isinstance(options, GenerationOptions):
            raise wrong_kind("options", options, "GenerationOptions, as generation_options() makes them")
        self._check_memory(options, len(pixel_values))
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
        strict: bool = False,
        **options: Any,
    ) -> Explanation:
        """A photo's caption, or ``text``, with a map over the photo for each word.

        The maps come from one pass over the caption's own ids, with the weights that found it. ``method``: one of
        ``methods``, the first of them by default, a head (``layer-1-head-0``), or several joined by ``+``; ``raw``: the
        softmax rows of its layers, as they are. ``strict``, ``options``: as of :meth:`caption`. Raises PhotoError when
        the photo can't be read, ConfigError for an unknown method or option, and for a text that has no words or too
        many.
        """
        method, raw, strict = self._method(method), yes_or_no("raw", raw), yes_or_no("strict", strict)
        chosen = self.generation_options(**options)
        ids = None if text is None else self._ids(text)
        image, pixel_values, geometry = self._open(photo, "the photo", strict)
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
            source=source_file(photo),
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
        method, raw = self._method(method), yes_or_no("raw", raw)
        self._check_pixels(pixel_values)
        if texts is not None and (isinstance(texts, str) or any(isinstance(some, str) for some in texts)):
            raise wrong_kind("texts", texts, "a list of texts for each photo")
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
        if not isinstance(name, str):
            raise wrong_kind("method", name, f"a name: {', '.join(self.methods)}")
        find_method(name, self.model.config.decoder.layers, self.model.config.decoder.heads)
        return name

    def _open(self, source: Any, name: str, strict: bool) -> tuple[Image.Image, Tensor, Geometry]:
        """The photo, its ``pixel_values`` (3, H, W) and how they were made; ``name``: where it has no path."""
        try:
            source = photo_in(source)
            if isinstance(source, str | os.PathLike) and (path := os.fsdecode(source)):
                name = path if len(path) <= 500 else f"{path[:500]}..."
            photo = open_photo(
                source, strict=strict, on_warning=lambda message: warn(f"{name}: {message}", PhotoWarning)
            )
        except PhotoError as error:
            raise PhotoError(f"{name}: {error}") from (error.__cause__ or error)
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
        if not isinstance(text, str):
            raise wrong_kind("text", text, "a text, one caption")
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

    def _arithmetic(self) -> AbstractContextManager[None]:
        return arithmetic(str(self.device), self.precision)
