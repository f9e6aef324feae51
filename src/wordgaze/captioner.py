"""Captioner: the three-line API over the whole way from a photo to its caption and its maps."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, overload

import torch
from huggingface_hub import ModelHubMixin
from PIL import Image
from torch import Tensor

from wordgaze.captioning.captions import as_caption, ids_of, search
from wordgaze.captioning.pipeline import caption_photos, read_named_photos
from wordgaze.data.photos import PhotoSource
from wordgaze.data.sources import Photos, photos_of
from wordgaze.data.transform import PhotoTransform
from wordgaze.device import arithmetic, check_precision, find_device, one_thread_after_fork
from wordgaze.errors import ConfigError, PhotoError, shown, wrong_kind
from wordgaze.explanation.evidence import evidence
from wordgaze.explanation.explanation import ExplainedWord, Explanation, explained_words, source_file
from wordgaze.explanation.methods import DEFAULT_METHOD, WordMaps, available_methods, find_method, word_maps
from wordgaze.folder import ModelParts, load_folder, save_folder
from wordgaze.generation.caption import Caption, CaptionWord
from wordgaze.generation.limits import check_encoder_memory, check_fits, check_memory, total_memory
from wordgaze.generation.options import GenerationOptions, whole_number, yes_or_no
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
        """Load the bundled model, a model folder, or a model of the hub (``owner/name``), which is downloaded once.

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
        """Return the names of the ways to make maps, of :mod:`wordgaze.explanation.methods`."""
        return available_methods(self.model.config.decoder.layers)

    def generation_options(self, **options: Any) -> GenerationOptions:
        """Return the model's defaults, overridden; raise ConfigError for an unknown name or a senseless value."""
        chosen = self.parts.generation.override(**options)
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
        a torch dataset, an array (B, H, W, 3). Where an item is a tuple, the photo comes first, then its label. Files
        are decoded ahead by threads, except those of an iterator: each is read before the next is asked for.
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
        # What a generator yields may be gone, or be filled anew, once it is asked for the next.
        ahead = batch_size if photos is not None and _length(photo) is not None else 0
        named: Iterable[tuple[str, Any]] = [("the photo", photo)]
        if photos is not None:
            named = ((f"photo {number}", source) for number, source in enumerate(photos, start=1))
        with closing(read_named_photos(named, self._pixel_values, strict, on_error, ahead)) as opened:
            found = caption_photos(opened, partial(self.caption_pixels, options=chosen), batch_size)
            captions = [one.error if one.caption is None else one.caption for one in found]
        return captions[0] if photos is None else captions

    def _pixel_values(self, photo: Image.Image) -> Tensor:
        return self.transform(photo)[0]

    def _check_memory(self, options: GenerationOptions, photos: int) -> None:
        check_memory(options, self.model.config.decoder, photos, total_memory(self.device))

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
        batch_size = min(batch_size, _length(photos) or batch_size)
        check_encoder_memory(batch_size, self.parts.preprocessing.size, total_memory(self.device))
        self._check_memory(self.parts.generation if options is None else options, batch_size)
        return batch_size

    def encode(self, pixel_values: Tensor) -> Tensor:
        """Return what the words look at (B, N, D) in ``pixel_values`` (B, 3, H, W), made by ``self.transform``."""
        pixel_values = pixel_values.to(self.device)
        if self.parts.preprocessing.mirrored:
            return self.model.encode_with_hflip(pixel_values)
        return self.model.encode(pixel_values)

    def caption_pixels(self, pixel_values: Tensor, options: GenerationOptions) -> list[Caption]:
        """Return the captions of ``pixel_values`` (B, 3, H, W), photos that ``self.transform`` has made."""
        self._check_pixels(pixel_values)
        if not isinstance(options, GenerationOptions):
            raise wrong_kind("options", options, "GenerationOptions, as generation_options() makes them")
        self._check_memory(options, len(pixel_values))
        with self._inference():
            encoder_hidden_states = self.encode(pixel_values)
            found = search(self.parts, encoder_hidden_states, options)
        return [as_caption(self.parts, captions, options) for captions in found]

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
        """Return a photo's caption, or ``text``, with a map over the photo for each word.

        The maps come from one pass over the caption's own ids, with the weights that found it. ``method``: one of
        ``methods``, the first of them by default, a head (``layer-1-head-0``), or several joined by ``+``; ``raw``: the
        softmax rows of its layers, as they are. ``strict``, ``options``: as of :meth:`caption`. Raises PhotoError when
        the photo can't be read, ConfigError for an unknown method or option, and for a text that has no words or too
        many.
        """
        method, raw, strict = self._method(method), yes_or_no("raw", raw), yes_or_no("strict", strict)
        chosen = self.generation_options(**options)
        ids: Sequence[int] | None = None if text is None else ids_of(self.parts, text)
        photos = [("the photo", photo)]
        [opened] = read_named_photos(photos, lambda image: (image, *self.transform(image)), strict)
        assert opened.content is not None
        image, pixels, geometry = opened.content
        pixel_values = pixels[None].to(self.device)
        caption = None
        with self._inference():
            # Beside the photo one that shows nothing, for what the words owe to the photo.
            both = self.encode(torch.cat([pixel_values, torch.zeros_like(pixel_values)]))
            states, blank = both[:1], both[1:]
            if ids is None:
                [found] = search(self.parts, states, chosen)
                ids, caption = found[0].token_ids, as_caption(self.parts, found, chosen)
        with self._arithmetic():
            [maps] = self._word_maps(pixel_values, states, [ids], method, raw)
            probabilities = [word.probability for word in maps.words]
            bits = evidence(self.model, blank, ids, self.tokenizer.words(ids), probabilities)
        if caption is None:
            words = tuple(CaptionWord(word.text, word.probability) for word in maps.words)
            caption = Caption(self.tokenizer.decode(ids), maps.log_probability, words)
        return Explanation(
            caption=caption,
            words=explained_words(maps, bits, geometry),
            photo=image,
            geometry=geometry,
            grid_size=maps.grid_size,
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
        """Return for each of ``pixel_values`` (B, 3, H, W) the maps of its ``texts``, or of the model's own caption.

        As :meth:`explain`, for many photos. ``options``: of the captions, by default the model's.
        """
        method, raw = self._method(method), yes_or_no("raw", raw)
        self._check_pixels(pixel_values)
        if texts is not None and (isinstance(texts, str) or any(isinstance(some, str) for some in texts)):
            raise wrong_kind("texts", texts, "a list of texts for each photo")
        pixel_values = pixel_values.to(self.device)
        captions: list[list[Sequence[int]]]
        with self._inference():
            states = self.encode(pixel_values)
            if texts is None:
                found = search(self.parts, states, self.parts.generation if options is None else options)
                captions = [[best[0].token_ids] for best in found]
            else:
                captions = [[ids_of(self.parts, text) for text in some] for some in texts]
        with self._arithmetic():
            each = zip(pixel_values.split(1), states.split(1), captions, strict=False)
            return [self._word_maps(pixels, state, some, method, raw) for pixels, state, some in each]

    def _word_maps(
        self, pixel_values: Tensor, states: Tensor, captions: list[Sequence[int]], method: str, raw: bool
    ) -> list[WordMaps]:
        """Return the maps of the ids of some ``captions`` of one photo."""
        return word_maps(
            self.model,
            states,
            [(ids, self.tokenizer.words(ids)) for ids in captions],
            method,
            raw=raw,
            pixel_values=pixel_values,
            mirrored=self.parts.preprocessing.mirrored,
        )

    def _method(self, name: str | None) -> str:
        """Return the name of a method that this model has; the default for None."""
        name = DEFAULT_METHOD if name is None else name
        if not isinstance(name, str):
            raise wrong_kind("method", name, f"a name: {', '.join(self.methods)}")
        find_method(name, self.model.config.decoder.layers, self.model.config.decoder.heads)
        return name

    @contextmanager
    def _inference(self) -> Iterator[None]:
        with torch.inference_mode(), self._arithmetic():
            yield

    def _arithmetic(self) -> AbstractContextManager[None]:
        return arithmetic(str(self.device), self.precision)


def _length(photos: Any) -> int | None:
    """Return how many there are; None where that shows only when they have all come."""
    try:
        return len(photos)
    except TypeError:
        return None
