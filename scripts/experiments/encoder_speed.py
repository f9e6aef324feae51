"""Times the bundled model's encoder in several ways on this CPU, and says how close each comes to the machine's peak.

    python -m scripts.experiments.encoder_speed [--ways before now bfloat16 onnx int8 compiled] [--rounds 5]
                                                [--json OUT]
    python -m scripts.experiments.encoder_speed --photos DIR --captions FILE [--json OUT]

``before``: the plain encoder, with glibc's own allocation. ``now``: what captions are made with. ``bfloat16``: the same
in that precision. ``onnx`` and ``int8``: exported in float32 and int8, by ONNX Runtime. ``compiled``: the plain encoder
by torch.compile, which needs a C++ compiler. Each runs in a process of its own, as the allocator's state is one
process's; they take turns, and ratios are medians of rounds. With ``--photos`` and ``--captions``: how many captions of
the photos that the file names differ between ``before`` and ``now``, with their log-probabilities. The machine should
do nothing else.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from contextlib import nullcontext
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from scripts.common.arguments import check_files, script_parser
from scripts.common.timing import fastest, timed
from wordgaze.captioner import Captioner
from wordgaze.captioning.captions import generate_captions
from wordgaze.data.photos import open_photo
from wordgaze.device import default_allocation
from wordgaze.export.write import export_folder
from wordgaze.files import model_files, write_text
from wordgaze.generation.torch_stepper import fast_stepper
from wordgaze.model.encoders.fused import FusedEncoder
from wordgaze.model.encoders.inference import InferenceEncoder
from wordgaze.tasks.references import photos_to_caption

WAYS = ("before", "now", "bfloat16", "onnx", "int8", "compiled")
EXPORTED = {"onnx": "float32", "int8": "int8"}
BATCH_SIZES = (1, 8, 32)
SIDE = 2048  # of the matrices whose product is the peak


def work(connection: Connection, way: str, folder: Path | None, threads: int) -> None:
    """Encode noise in one way, and send the seconds, for each batch size that is received.

    ``folder``: of the exported model, of the ways that have one.
    """
    torch.set_num_threads(threads)
    precision = "bfloat16" if way == "bfloat16" else "float32"
    captioner = Captioner.from_pretrained(folder, device="cpu", precision=precision)
    backend = captioner._backend
    encode = captioner.model.encode if way in ("before", "compiled") else captioner.encode
    if way == "compiled":
        encode = torch.compile(encode)
    height, width = captioner.parts.preprocessing.size
    with default_allocation() if way == "before" else nullcontext(), backend.inference():
        while (batch := connection.recv()) is not None:
            pixels = torch.randn(batch, 3, height, width)
            encode(pixels)
            connection.send(timed(lambda pixels=pixels: encode(pixels))[0])  # type: ignore[misc]


def take_turns(ways: Sequence[str], rounds: int, threads: int, folder: Path) -> list[dict[str, Any]]:
    """Return a row for each way and batch size: milliseconds a batch, and times faster than the first way.

    ``folder``: of the exported models, each in its own by its precision.
    """
    context = get_context("spawn")
    pipes: dict[str, Connection] = {}
    for way in ways:
        exported = folder / EXPORTED[way] if way in EXPORTED else None
        pipes[way], other = context.Pipe()
        context.Process(target=work, args=(other, way, exported, threads), daemon=True).start()
    rows = []
    for batch in BATCH_SIZES:
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(rounds):
            for way, pipe in pipes.items():
                pipe.send(batch)
                seconds[way].append(pipe.recv())
        for way, taken in seconds.items():
            ratios = [first / own for first, own in zip(seconds[ways[0]], taken, strict=True)]
            rows.append(
                {
                    "batch": batch,
                    "way": way,
                    "milliseconds": 1e3 * statistics.median(taken),
                    "ratio": statistics.median(ratios),
                    "low": min(ratios),
                    "high": max(ratios),
                }
            )
    for pipe in pipes.values():
        pipe.send(None)
    return rows


@torch.inference_mode()
def peak(captioner: Captioner, batch: int = 8, rounds: int = 7) -> dict[str, float]:
    """Return GFLOP/s: of a large product by each library, and of the two networks as captions run them."""
    one, other = torch.randn(SIDE, SIDE), torch.randn(SIDE, SIDE)
    pixels = torch.randn(batch, 3, *captioner.parts.preprocessing.size)
    captioner.encode(pixels)
    encoder = InferenceEncoder(captioner.model.encoder).copy_for(torch.float32)
    assert isinstance(encoder, FusedEncoder)
    product = 2 * SIDE**3
    works = {
        "product, MKL": (product, lambda: one @ other),
        "product, oneDNN": (product, lambda: torch.ops.mkldnn._linear_pointwise(one, other, None, "none", [], "")),
        "ViT": (vit_operations(captioner.model.encoder) * batch, lambda: encoder.vit(pixels)),
        "second network": (
            conv_operations(captioner.model.encoder, pixels[:1]) * batch,
            lambda: encoder._intermediates(pixels),
        ),
    }
    return {name: operations / fastest(rounds, run)[0] / 1e9 for name, (operations, run) in works.items()}


def vit_operations(encoder: Any) -> int:
    """Return the operations of a photo in the ViT's matrix products."""
    network = encoder.network
    tokens = encoder.grid[0] * encoder.grid[1] + network.num_prefix_tokens
    weights = sum(p.numel() for p in network.parameters() if p.ndim == 2)
    patches = network.patch_embed.proj.weight.numel() * encoder.grid[0] * encoder.grid[1]
    return 2 * (weights * tokens + patches + len(network.blocks) * 2 * tokens**2 * network.embed_dim)


def conv_operations(encoder: Any, pixels: Tensor) -> int:
    """Return the operations of a photo in the second network's convolutions."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        encoder._intermediates(pixels)
    return int(counter.get_total_flops())


@torch.inference_mode()
def compare_captions(captioner: Captioner, photos: Sequence[Path], batch: int = 16) -> dict[str, Any]:
    """Return how many captions differ, by the model's own search, and the log-probabilities of those that do."""
    differ: list[dict[str, Any]] = []
    largest = 0.0
    for start in range(0, len(photos), batch):
        paths = photos[start : start + batch]
        pixels = torch.stack([captioner.transform(open_photo(path))[0] for path in paths])
        plain, now = captioner.model.encode(pixels), captioner.encode(pixels)
        largest = max(largest, float((plain - now).abs().max()))
        steppers = [fast_stepper(captioner.model, states) for states in (plain, now)]
        captions = [generate_captions(captioner.parts, stepper, captioner.parts.generation) for stepper in steppers]
        for path, (one, *_), (other, *_) in zip(paths, *captions, strict=True):
            if one.token_ids != other.token_ids:
                texts = [captioner.tokenizer.decode(result.token_ids) for result in (one, other)]
                scores = [result.log_probability for result in (one, other)]
                differ.append({"file": path.name, "captions": texts, "log_probabilities": scores})
    return {"photos": len(photos), "differ": differ, "largest_difference_of_states": largest}


def main() -> None:
    parser = script_parser(__doc__)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=["before", "now", "bfloat16"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--captions", type=Path)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if (arguments.photos is None) != (arguments.captions is None):
        parser.error("--photos and --captions go together")
    check_files(parser, [] if arguments.json is None else [arguments.json], model_files(None))
    torch.set_num_threads(arguments.threads)
    captioner = Captioner.from_pretrained(device="cpu")
    result: dict[str, Any]
    if arguments.photos is not None:
        result = compare_captions(captioner, [p.path for p in photos_to_caption(arguments.captions, arguments.photos)])
        print(f"{len(result['differ'])} of {result['photos']} captions differ; states by at most", end=" ")
        print(f"{result['largest_difference_of_states']:.1e}")
        for row in result["differ"]:
            print(row)
    else:
        with TemporaryDirectory(prefix="wordgaze-") as folder:
            for way in EXPORTED.keys() & set(arguments.ways):
                export_folder(captioner.parts, Path(folder, EXPORTED[way]), EXPORTED[way])
            rows = take_turns(arguments.ways, arguments.rounds, arguments.threads, Path(folder))
        result = {"peak": peak(captioner), "rows": rows}
        print("GFLOP/s:", ", ".join(f"{name} {value:.0f}" for name, value in result["peak"].items()))
        for row in result["rows"]:
            print(
                f"batch {row['batch']:>2}  {row['way']:<9} {row['milliseconds']:>7.1f} ms  "
                f"{row['ratio']:.2f} times as fast ({row['low']:.2f} to {row['high']:.2f})"
            )
    if arguments.json is not None:
        write_text(arguments.json, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
