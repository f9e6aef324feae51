"""The ways to run the bundled model on this CPU, in turns: PyTorch, compiled, bfloat16, ONNX Runtime, int8."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from scripts.common.timing import timed
from wordgaze.captioner import Captioner
from wordgaze.captioning.captions import generate_captions, to_caption
from wordgaze.data.photos import open_photo
from wordgaze.export.write import export_folder
from wordgaze.generation.torch_stepper import fast_stepper
from wordgaze.tasks.bench import BATCH_SIZES, machine
from wordgaze.tasks.bench_models import photos_to_bench

Encode = Callable[[Tensor], Any]
Caption = Callable[[Tensor], list[str]]
PLAIN, BASE = "PyTorch, encoder as in training", "PyTorch"


@dataclass(frozen=True)
class Backend:
    """A way to caption: ``encode`` turns ``pixel_values`` (B, 3, H, W) into states, ``caption`` into B captions."""

    name: str
    encode: Encode
    caption: Caption


def measure(quick: bool) -> dict[str, Any]:
    """Return, by backend and batch, the seconds of captioning a batch of pixels with the model's own options.

    ``quick``: one small batch of a few backends, only to see that it works.
    """
    sizes, rounds = ((2,), 1) if quick else (BATCH_SIZES, 5)
    with TemporaryDirectory(prefix="wordgaze-") as temporary:
        folder = Path(temporary)
        captioner = Captioner.from_pretrained(device="cpu")
        photos = photos_to_bench(None, max(sizes), folder)
        pixels = torch.stack([captioner.transform(open_photo(path))[0] for path in photos])
        backends = make_backends(captioner, folder, quick)
        rows = [row for batch in sizes for row in measure_batch(backends, pixels[:batch], rounds)]
    return {"machine": machine("cpu") | {"onnxruntime": _onnxruntime()}, "quick": quick, "rows": rows}


def measure_batch(backends: list[Backend], pixels: Tensor, rounds: int) -> list[dict[str, Any]]:
    """Return a row for each backend, timed in turns.

    ``encode_speedup``: the median of the rounds' seconds of ``PLAIN`` to encode over its own; ``speedup``: of ``BASE``
    to caption over its own.
    """
    captions = {backend.name: backend.caption(pixels) for backend in backends}
    encoding: dict[str, list[float]] = {backend.name: [] for backend in backends}
    captioning: dict[str, list[float]] = {backend.name: [] for backend in backends}
    for _ in range(rounds):
        for backend in backends:
            encoding[backend.name].append(timed(partial(backend.encode, pixels))[0])
            captioning[backend.name].append(timed(partial(backend.caption, pixels))[0])
    rows = []
    for name, taken in captioning.items():
        faster = sorted(base / own for base, own in zip(captioning[BASE], taken, strict=True))
        same = sum(own == base for own, base in zip(captions[name], captions[BASE], strict=True))
        rows.append(
            {
                **{"backend": name, "batch": len(pixels), "same_captions": same},
                **{"encode_seconds": median(encoding[name]), "seconds": median(taken)},
                "captions_per_second": len(pixels) / median(taken),
                "encode_speedup": median(a / b for a, b in zip(encoding[PLAIN], encoding[name], strict=True)),
                **{"speedup": median(faster), "speedup_low": faster[0], "speedup_high": faster[-1]},
            }
        )
    return rows


def make_backends(captioner: Captioner, folder: Path, quick: bool) -> list[Backend]:
    """Return all backends; the exported models go into ``folder``."""
    model, bridge = captioner.model, captioner.model.bridge
    backends = [Backend(PLAIN, *_with_encoder(captioner, model.encode)), _backend(BASE, captioner)]
    if not quick:
        compiled = torch.compile(model.encoder)
        backends.append(
            Backend("PyTorch, compiled", *_with_encoder(captioner, lambda pixels: bridge(compiled(pixels))))
        )
    backends.append(_backend("PyTorch, bfloat16", Captioner(captioner.parts, "cpu", "bfloat16")))
    for precision in ("float32",) if quick else ("float32", "int8"):
        exported = folder / precision
        export_folder(captioner.parts, exported, precision)
        name = "ONNX Runtime" + (", int8" if precision == "int8" else "")
        backends.append(_backend(name, Captioner.from_pretrained(exported)))
    return backends


def _backend(name: str, captioner: Captioner) -> Backend:
    def encode(pixels: Tensor) -> Any:
        with torch.inference_mode():
            return captioner.encode(pixels)

    def caption(pixels: Tensor) -> list[str]:
        return [str(caption) for caption in captioner.caption_pixels(pixels, captioner.parts.generation)]

    return Backend(name, encode, caption)


def _with_encoder(captioner: Captioner, encode: Encode) -> tuple[Encode, Caption]:
    """Return ways to encode and to caption with another encoder in front of the captioner's own search."""
    encode = torch.inference_mode()(encode)

    @torch.inference_mode()
    def caption(pixels: Tensor) -> list[str]:
        stepper = fast_stepper(captioner.model, encode(pixels))
        generated = generate_captions(captioner.parts, stepper, captioner.parts.generation)
        return [str(to_caption(captioner.parts, captions, captioner.parts.generation)) for captions in generated]

    return encode, caption


def _onnxruntime() -> str:
    import onnxruntime

    return str(onnxruntime.__version__)
