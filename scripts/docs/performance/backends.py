"""The ways to run the bundled model on this CPU, in turns: PyTorch, compiled, bfloat16, ONNX Runtime, int8."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wordgaze.captioner import Captioner
from wordgaze.captioning.captions import generate_captions
from wordgaze.data.photos import open_photo
from wordgaze.export.session import OnnxModel
from wordgaze.export.write import export_folder
from wordgaze.generation.torch_stepper import fast_stepper
from wordgaze.tasks.bench import BATCH_SIZES, machine
from wordgaze.tasks.bench_models import photos_to_bench

Caption = Callable[[Tensor], list[list[int]]]
BASE = "PyTorch"


@dataclass(frozen=True)
class Backend:
    """A way to caption: ``caption`` turns ``pixel_values`` (B, 3, H, W) into the ids of B captions."""

    name: str
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
    """Return a row for each backend; ``speedup``: the median of the rounds' seconds of PyTorch over its own."""
    captions = {backend.name: backend.caption(pixels) for backend in backends}
    seconds: dict[str, list[float]] = {backend.name: [] for backend in backends}
    for _ in range(rounds):
        for backend in backends:
            start = time.perf_counter()
            backend.caption(pixels)
            seconds[backend.name].append(time.perf_counter() - start)
    rows = []
    for name, taken in seconds.items():
        ratios = [base / own for base, own in zip(seconds[BASE], taken, strict=True)]
        same = sum(own == base for own, base in zip(captions[name], captions[BASE], strict=True))
        rows.append(
            {
                **{"backend": name, "batch": len(pixels), "seconds": median(taken), "same_captions": same},
                **{"captions_per_second": len(pixels) / median(taken)},
                **{"speedup": median(ratios), "speedup_low": min(ratios), "speedup_high": max(ratios)},
            }
        )
    return rows


def make_backends(captioner: Captioner, folder: Path, quick: bool) -> list[Backend]:
    """Return all backends; the exported models go into ``folder``."""
    backends = [Backend(BASE, _torch(captioner, captioner.encode))]
    if not quick:
        compiled = torch.compile(captioner.model.encoder)
        bridge = captioner.model.bridge
        backends.append(Backend("PyTorch, compiled", _torch(captioner, lambda pixels: bridge(compiled(pixels)))))
    half = Captioner(captioner.parts, "cpu", "bfloat16")
    backends.append(Backend("PyTorch, bfloat16", _torch(half, half.encode)))
    for precision in ("float32",) if quick else ("float32", "int8"):
        exported = folder / precision
        export_folder(captioner.parts, exported, precision)
        name = "ONNX Runtime" + (", int8" if precision == "int8" else "")
        backends.append(Backend(name, _onnx(captioner, OnnxModel.load(exported, torch.get_num_threads()))))
    return backends


def _torch(captioner: Captioner, encode: Callable[[Tensor], Tensor]) -> Caption:
    def caption(pixels: Tensor) -> list[list[int]]:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=captioner.precision == "bfloat16"):
            stepper = fast_stepper(captioner.model, encode(pixels))
            generated = generate_captions(captioner.parts, stepper, captioner.parts.generation)
        return [list(captions[0].token_ids) for captions in generated]

    return caption


def _onnx(captioner: Captioner, model: OnnxModel) -> Caption:
    def caption(pixels: Tensor) -> list[list[int]]:
        stepper = model.stepper(model.encode(np.ascontiguousarray(pixels.numpy())))
        generated = generate_captions(captioner.parts, stepper, captioner.parts.generation)
        return [list(captions[0].token_ids) for captions in generated]

    return caption


def _onnxruntime() -> str:
    import onnxruntime

    return str(onnxruntime.__version__)
