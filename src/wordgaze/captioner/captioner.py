"""Captioner: the three-line API, from a photo to its caption and its maps. Imports torch only to run it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, overload

import numpy as np
from huggingface_hub import ModelHubMixin

from wordgaze.captioner.backend import Backend, check_backend
from wordgaze.captioner.onnx_backend import (
    ExportedParts,
    OnnxBackend,
    check_onnx_device,
    check_onnx_precision,
    load_exported,
)
from wordgaze.captioning.batches import AUTO, BatchSize
from wordgaze.captioning.captions import encode_text, generate_captions, to_caption
from wordgaze.captioning.checks import RequestChecks, number_of
from wordgaze.captioning.pipeline import caption_photos, read_named_photos
from wordgaze.data.draft import Photo
from wordgaze.data.photos import PhotoSource
from wordgaze.data.sources import Photos, photos_of
from wordgaze.data.transform import PhotoTransform
from wordgaze.device import check_precision, find_device, one_thread_after_fork
from wordgaze.errors import ConfigError, ModelError, PhotoError, shown, wrong_kind
from wordgaze.explanation.explainer import Explainer
from wordgaze.explanation.explanation import ExplainedWord, Explanation, make_explanation
from wordgaze.explanation.methods import WordMaps
from wordgaze.folder import ModelParts, is_exported, save_folder
from wordgaze.generation.caption import Caption, CaptionWord
from wordgaze.generation.options import GenerationOptions, yes_or_no
from wordgaze.generation.result import GeneratedCaption
from wordgaze.hub import local_folder, resolve

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["BATCH_SIZE", "Caption", "CaptionWord", "Captioner", "ExplainedWord", "Explanation"]

BATCH_SIZE = 16
"""Photos at a time, where nothing chooses another number."""

OnePhoto: TypeAlias = "PhotoSource | Tensor"

# Whoever imports this may run torch, perhaps before a fork.
one_thread_after_fork()


class Captioner(ModelHubMixin, library_name="wordgaze", pipeline_tag="image-to-text", tags=["image-captioning"]):
    """A model with its tokenizer, photo transform and defaults, ready to caption and to explain.

        captioner = Captioner.from_pretrained()
        print(captioner.caption("photo.jpg"))
        captioner.explain("photo.jpg").save("maps.png")

    ``device``: ``auto`` (CUDA, then Apple's MPS, then the CPU) or a torch device. ``precision``: ``float32``,
    ``bfloat16`` or ``float16``, of the arithmetic, on a CPU of the encoder's alone; weights stay float32. ``auto`` is
    the one that encodes photos fastest on the device, and ``Captioner.precision`` says which. ``mirrored``: whether to
    look at a photo a second time, mirrored, for perhaps better captions in about 1.4 times the time; None: the model's
    own setting. Raises ConfigError for a device or precision that can't be had.

    Of an exported model ONNX Runtime runs on the CPU, in the precision that it was exported in, and torch is not
    imported; it makes maps by the methods that need no gradient, and its states are arrays where those of other models
    are tensors.

    A process forked after this module was imported runs torch with one thread; with more it would hang. To caption in
    several processes with several threads each, start them by ``spawn``.
    """

    _hub_mixin_config: dict[str, Any] = {}  # noqa: RUF012  (set, or the mixin would copy the whole model as its config)

    def __init__(
        self,
        parts: ModelParts | ExportedParts,
        device: str | torch.device | None = "auto",
        precision: str = "float32",
        mirrored: bool | None = None,
    ) -> None:
        if not isinstance(parts, ModelParts | ExportedParts):
            rule = "the parts of a model; a folder or name goes to Captioner.from_pretrained"
            raise wrong_kind("parts", parts, rule)
        self._backend = _backend(parts, device, precision)
        self.device, self.precision = self._backend.device, self._backend.precision
        if mirrored is not None:
            mirrored = yes_or_no("mirrored", mirrored)
            parts = replace(parts, preprocessing=replace(parts.preprocessing, hflip_tta=mirrored))
        self.parts = parts
        self.model: Any = parts.model
        self.tokenizer = parts.tokenizer
        self.transform = PhotoTransform(parts.preprocessing)
        self._checks = RequestChecks(parts, self.device)
        self._explainer = Explainer(self._backend.reader, self.tokenizer, parts.preprocessing.hflip_tta)

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str] | None = None,
        device: str | torch.device | None = "auto",
        precision: str = "float32",
        mirrored: bool | None = None,
        *,
        backend: str = "auto",
        force_download: bool = False,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        revision: str | None = None,
    ) -> Captioner:
        """Load the bundled model, a model folder, or a model of the hub (``owner/name``), which is downloaded once.

        A BLIP, or a ``VisionEncoderDecoderModel`` of transformers, is converted in memory, and a ModelWarning says so.
        ``backend``: ``torch``, ``onnx`` (ONNX Runtime, which runs what ``wordgaze export`` has written) or ``auto``.
        Raises ModelError when it can't be had, ConfigError for a device or precision that can't, and for a model that
        the backend can't run.
        """
        name, backend = pretrained_model_name_or_path, check_backend(backend)
        download: dict[str, Any] = {
            "revision": revision,
            "cache_dir": cache_dir,
            "force_download": force_download,
            "local_files_only": local_files_only,
            "token": token,
        }
        # The mixin's own method needs a name, and asks the network for config.json even when it is a mistyped path.
        folder = local_folder(name)
        if folder is None:
            if backend != "onnx":
                # Before a model is downloaded for nothing.
                find_device(device)
                check_precision(precision)
            folder = resolve(name, **download)
        if is_exported(folder):
            if backend == "torch":
                raise ConfigError(
                    f"{name} is an exported model, which torch can't run; leave out the backend, or name the model "
                    "folder that it was made of."
                )
            check_onnx_device(device)
            check_onnx_precision(precision)
            return cls(load_exported(folder), mirrored=mirrored)
        if backend == "onnx":
            raise ConfigError(
                f"ONNX Runtime runs exported models, and {name or 'the bundled model'} is none; make one with "
                f"`wordgaze export {name or 'bundled'} OUT`, and name OUT."
            )
        from wordgaze.convert.load import load_resolved

        # Before a model is read for nothing.
        device, precision = find_device(device), check_precision(precision)
        return cls(load_resolved(name, folder, device, **download), device, precision, mirrored)

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
        self._save_pretrained(save_directory)
        if not push_to_hub:
            return None
        push_to_hub_kwargs.pop("config", None)  # ours is in the folder
        name = Path(save_directory).name if repo_id is None else repo_id
        return self.push_to_hub(repo_id=name, **push_to_hub_kwargs)

    def _save_pretrained(self, save_directory: str | Path) -> None:
        if isinstance(self.parts, ExportedParts):
            raise ModelError("An exported model is saved by copying its folder; or export its model folder again.")
        save_folder(self.parts, save_directory)

    @property
    def backend(self) -> str:
        """Return the library that runs the model: ``torch`` or ``onnx``."""
        return self._backend.name

    @property
    def on_cpu(self) -> bool:
        """Return whether the model runs on the CPU."""
        return str(self.device).partition(":")[0] == "cpu"

    @property
    def grid(self) -> tuple[int, int]:
        """Return the patches down and across, (H_p, W_p)."""
        return self._backend.reader.grid

    @property
    def methods(self) -> tuple[str, ...]:
        """Return the names of the ways to make maps, of :mod:`wordgaze.explanation.methods`."""
        return self._explainer.methods

    def generation_options(self, **options: Any) -> GenerationOptions:
        """Return the model's defaults, overridden; raise ConfigError for an unknown name or a senseless value."""
        return self._checks.options(options)

    def check_batch(
        self, batch_size: int | str, photos: Iterable[Any] = (), options: GenerationOptions | None = None
    ) -> int:
        """Return how many of ``photos`` are captioned at a time: ``batch_size``, or all where they are fewer.

        Raises ConfigError where ``batch_size`` is no number and not ``auto``, or such a batch needs more memory than
        there is. ``options``: of the captions, by default the model's.
        """
        return self.batches(batch_size, photos, options).photos

    def batches(
        self, batch_size: int | str, photos: Iterable[Any] = (), options: GenerationOptions | None = None
    ) -> BatchSize:
        """Return what :meth:`check_batch` does; with ``auto`` it gets smaller where the memory runs out."""
        options = self.parts.generation if options is None else options
        return self._checks.batches(batch_size, number_of(photos), options)

    @overload
    def caption(
        self,
        photo: OnePhoto,
        *,
        batch_size: int | str = ...,
        on_error: Literal["raise"] = ...,
        strict: bool = ...,
        **options: Any,
    ) -> Caption: ...

    @overload
    def caption(
        self,
        photo: OnePhoto,
        *,
        batch_size: int | str = ...,
        on_error: Literal["return"],
        strict: bool = ...,
        **options: Any,
    ) -> Caption | PhotoError: ...

    @overload
    def caption(
        self,
        photo: Photos,
        *,
        batch_size: int | str = ...,
        on_error: Literal["raise"] = ...,
        strict: bool = ...,
        **options: Any,
    ) -> list[Caption]: ...

    @overload
    def caption(
        self,
        photo: Photos,
        *,
        batch_size: int | str = ...,
        on_error: Literal["return"],
        strict: bool = ...,
        **options: Any,
    ) -> list[Caption | PhotoError]: ...

    def caption(
        self,
        photo: Any,
        *,
        batch_size: int | str = AUTO,
        on_error: str = "raise",
        strict: bool = False,
        **options: Any,
    ) -> Any:
        """Return a photo's caption, or those of several photos in their order.

        ``photo``: a path, a file's bytes, a binary file, a PIL image, an array or a tensor; or any collection or
        iterator of these: a list, a generator, a dict's ``values()``, a torch dataset, an array (B, H, W, 3). Where an
        item is a tuple, the photo comes first, then its label. Files are decoded ahead by threads, except those of an
        iterator: each is read before the next is asked for. ``batch_size``: how many are captioned at a time; ``auto``
        takes as many as fit the memory, and fewer where it runs out. ``options``: the fields of ``GenerationOptions``.

        Raises PhotoError, which names the photo, when one can't be read; ``on_error="return"`` gives that error in the
        photo's place, and the others are captioned. What is doubtful about a photo is a PhotoWarning; ``strict``
        refuses photos that are cut short. Raises ConfigError for options and arguments that make no sense.
        """
        generation = self.generation_options(**options)
        strict = yes_or_no("strict", strict)
        if not isinstance(on_error, str) or on_error not in ("raise", "return"):
            raise ConfigError(f"on_error is {shown(on_error)}; choose raise or return.")
        photos = photos_of(photo)
        batches = self.batches(batch_size, [photo] if photos is None else photo, generation)
        # What a generator yields may be gone, or be filled anew, once it is asked for the next.
        ahead = batches.photos if photos is not None and number_of(photo) is not None else 0
        named: Iterable[tuple[str, Any]] = [("the photo", photo)]
        if photos is not None:
            named = ((f"photo {number}", source) for number, source in enumerate(photos, start=1))
        smaller = self.transform.preprocessing.max_reduction
        make = self._pixel_values
        with closing(read_named_photos(named, make, strict, on_error, ahead, smaller, self.on_cpu)) as read:
            results = caption_photos(read, partial(self.caption_pixels, options=generation), batches)
            captions = [result.error if result.caption is None else result.caption for result in results]
        return captions[0] if photos is None else captions

    def _pixel_values(self, photo: Photo) -> np.ndarray:
        return self.transform.array(photo)[0]

    def encode(self, pixel_values: Tensor | np.ndarray) -> Any:
        """Return what the words look at (B, N, D) in ``pixel_values`` (B, 3, H, W), made by ``self.transform``."""
        return self._backend.encode(pixel_values, self.parts.preprocessing.hflip_tta)

    def caption_pixels(self, pixel_values: Tensor | np.ndarray, options: GenerationOptions) -> list[Caption]:
        """Return the captions of ``pixel_values`` (B, 3, H, W), photos that ``self.transform`` has made."""
        self._checks.search(pixel_values, options)
        with self._backend.inference():
            generated = self._generate(self.encode(pixel_values), options)
        return [to_caption(self.parts, captions, options) for captions in generated]

    def _generate(self, states: Any, options: GenerationOptions) -> list[list[GeneratedCaption]]:
        return generate_captions(self.parts, self._backend.stepper(states), options)

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
        method = self._explainer.check_method(method)
        raw, strict = yes_or_no("raw", raw), yes_or_no("strict", strict)
        generation = self.generation_options(**options)
        ids: Sequence[int] | None = None if text is None else encode_text(self.parts, text)
        sources = [("the photo", photo)]
        [read] = read_named_photos(sources, lambda image: (image, *self.transform.array(image)), strict)
        assert read.content is not None
        image, pixels, geometry = read.content
        # A blank photo in the same batch, for the evidence: how much of a word is owed to the photo.
        pixel_values = self._backend.pixels(np.stack([pixels, np.zeros_like(pixels)]))
        caption = None
        with self._backend.inference():
            states = self.encode(pixel_values)
            photo_states, blank_states = states[:1], states[1:]
            if ids is None:
                [generated] = self._generate(photo_states, generation)
                ids, caption = generated[0].token_ids, to_caption(self.parts, generated, generation)
        with self._backend.arithmetic():
            [maps] = self._explainer.maps(pixel_values[:1], photo_states, [ids], method, raw)
            bits = self._explainer.evidence(blank_states, ids, maps)
        if caption is None:
            caption = self._explainer.caption(ids, maps)
        return make_explanation(caption, maps, bits, image, geometry, method=method, raw=raw, source=photo)

    def explain_pixels(
        self,
        pixel_values: Tensor | np.ndarray,
        texts: Sequence[Sequence[str]] | None = None,
        method: str | None = None,
        *,
        raw: bool = False,
        options: GenerationOptions | None = None,
    ) -> list[list[WordMaps]]:
        """Return for each of ``pixel_values`` (B, 3, H, W) the maps of its ``texts``, or of the model's own caption.

        As :meth:`explain`, for many photos. ``options``: of the captions, by default the model's.
        """
        method, raw = self._explainer.check_method(method), yes_or_no("raw", raw)
        self._checks.pixels(pixel_values)
        if texts is not None and (isinstance(texts, str) or any(isinstance(group, str) for group in texts)):
            raise wrong_kind("texts", texts, "a list of texts for each photo")
        if texts is not None and len(texts) != len(pixel_values):
            raise ConfigError(
                f"texts has {len(texts)} lists for {len(pixel_values)} photos; give a list of texts for each photo."
            )
        pixels = self._backend.pixels(pixel_values)
        captions: list[list[Sequence[int]]]
        with self._backend.inference():
            states = self.encode(pixels)
            if texts is None:
                generated = self._generate(states, self.parts.generation if options is None else options)
                captions = [[best.token_ids] for best, *_ in generated]
            else:
                captions = [[encode_text(self.parts, text) for text in group] for group in texts]
        with self._backend.arithmetic():
            return [
                self._explainer.maps(pixels[index : index + 1], states[index : index + 1], group, method, raw)
                for index, group in enumerate(captions)
            ]


def _backend(parts: ModelParts | ExportedParts, device: str | torch.device | None, precision: str) -> Backend:
    if isinstance(parts, ExportedParts):
        return OnnxBackend(parts, device, precision)
    from wordgaze.captioner.torch_backend import TorchBackend

    return TorchBackend(parts.model, device, precision)
