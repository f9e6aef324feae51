"""Looks at what is installed, what this machine can do, and what is missing for which feature."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

from wordgaze import __version__
from wordgaze.device import AUTO, busy, choose_precision, load

# In this order: compat, which looks at torchvision, stands between torch and timm.
_FOR_CAPTIONS = {
    "torch": "torch",
    "torchvision": "wordgaze.compat",
    "timm": "timm",
    "tokenizers": "tokenizers",
    "safetensors": "safetensors",
    "huggingface_hub": "huggingface_hub",
    "numpy": "numpy",
    "Pillow": "PIL",
}
_FOR_THE_REST = {
    "lightning": "wordgaze train",
    "jsonargparse": "wordgaze train",
    "PyYAML": "wordgaze train",
    "matplotlib": "pictures of the maps",
    "rich": "tables on a terminal",
}
_EXTRAS = {
    "gradio": ("demo", "wordgaze demo"),
    "pillow-heif": ("heif", "HEIC and HEIF photos"),
    "transformers": ("gpt2", "a decoder that starts from GPT-2"),
    "pycocoevalcap": ("metrics", "METEOR and SPICE"),
    "onnxruntime": ("onnx", "models that were exported"),
    "onnx": ("onnx", "wordgaze export"),
    "onnxscript": ("onnx", "wordgaze export"),
}


@dataclass(frozen=True)
class Finding:
    """The result for one thing: what was seen and, if something is wrong, what that costs and what to do.

    ``needed``: without it there are no captions. ``note``: nothing is missing, but something else can go wrong, or
    slowly.
    """

    name: str
    detail: str
    problem: str = ""
    needed: bool = False
    error: Exception | None = None
    note: str = ""

    @property
    def stops_captions(self) -> bool:
        return self.needed and bool(self.problem)


def examine() -> Iterator[Finding]:
    """Look at one thing after another, slow ones last; never raise for what is wrong."""
    yield Finding("wordgaze", __version__)
    yield Finding("python", f"{platform.python_version()}, {platform.system()} {platform.machine()}")
    for name, module in _FOR_CAPTIONS.items():
        yield _look(name, partial(_needed_package, name, module), needed=True)
    for name, feature in _FOR_THE_REST.items():
        yield _look(name, partial(_package, name, feature, "reinstall wordgaze"))
    for name, (extra, feature) in _EXTRAS.items():
        look = _transformers if name == "transformers" else _package
        yield _look(name, partial(look, name, feature, f'pip install "wordgaze[{extra}]"'))
    yield _look("java", _java)
    yield _look("photo formats", _photo_formats)
    yield _look("devices", _devices)
    yield _look("load", _load)
    yield _look("bfloat16", _bfloat16)
    yield _look("cache folder", _cache_folder)
    yield _look("bundled model", _bundled_model, needed=True)
    yield _look("a caption", _caption, needed=True)


def _look(name: str, examine_one: Callable[[], Finding], needed: bool = False) -> Finding:
    try:
        return replace(examine_one(), needed=needed)
    except Exception as error:
        # A broken installation can fail in any way; the doctor goes on.
        text = " ".join(str(error).split()) or type(error).__name__
        return Finding(name, "does not work", text, needed, error)


def _needed_package(name: str, module: str) -> Finding:
    try:
        detail = version(name)
    except PackageNotFoundError:
        return Finding(name, "not installed", "captions: reinstall wordgaze")
    imported = import_module(module)
    if name == "torch":
        # It tells the build, as in 2.13.0+cpu; the metadata need not.
        detail = imported.__version__
    elif name == "torchvision":
        detail += f", {imported.torchvision_status()}"
    return Finding(name, detail)


def _package(name: str, feature: str, remedy: str) -> Finding:
    try:
        return Finding(name, version(name))
    except PackageNotFoundError:
        return Finding(name, "not installed", f"{feature}: {remedy}")


def _transformers(name: str, feature: str, remedy: str) -> Finding:
    from wordgaze import compat

    finding = _package(name, feature, remedy)
    if finding.problem or not compat.declares_operators():
        return finding
    return replace(
        finding,
        note='fails with "Could not import module", since torchvision\'s native part does not load with this torch; '
        "`import wordgaze.compat` before transformers, or install torch and torchvision of one build",
    )


def _java() -> Finding:
    java = shutil.which("java")
    remedy = "METEOR and SPICE: install a Java runtime, 8 or newer; all other scores need none"
    if java is None:
        return Finding("java", "not installed", remedy)
    done = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30)
    # macOS has a stand-in that only says where to get Java.
    if done.returncode != 0:
        return Finding("java", f"{java} does not run", remedy)
    return Finding("java", ((done.stderr or done.stdout).splitlines() or [java])[0])


def _photo_formats() -> Finding:
    from PIL import features

    supported = {name: features.check(name) for name in ("webp", "avif")}
    missing = [name for name, is_supported in supported.items() if not is_supported]
    detail = ", ".join(["jpeg", "png", *(name for name, is_supported in supported.items() if is_supported)])
    problem = f"{' and '.join(missing)} photos: pip install --force-reinstall Pillow" if missing else ""
    return Finding("photo formats", detail, problem)


def _devices() -> Finding:
    import torch

    devices = [f"cpu ({torch.get_num_threads()} threads)"]
    devices += [f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("mps")
    return Finding("devices", ", ".join(devices))


def _load() -> Finding:
    import torch

    now = load()
    if now is None:
        return Finding("load", "unknown on this system")
    return Finding("load", f"{now:.1f} on {os.cpu_count()} cores", note=busy(torch.get_num_threads()) or "")


def _bfloat16() -> Finding:
    import torch

    fastest = choose_precision(AUTO, "cuda" if torch.cuda.is_available() else "cpu")
    value = "faster than float32 here" if fastest == "bfloat16" else "no faster than float32 here"
    return Finding("bfloat16", f"{value}; --precision auto is {fastest}")


def _cache_folder() -> Finding:
    from huggingface_hub.constants import HF_HUB_CACHE

    return Finding("cache folder", f"{HF_HUB_CACHE} (models from the hub)")


def _bundled_model() -> Finding:
    from wordgaze.hub import bundled_folder

    folder = bundled_folder()
    size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    return Finding("bundled model", f"{folder} ({size / 1e6:.0f} MB)")


def _caption() -> Finding:
    """Caption a plain picture: only that proves that captions work."""
    from PIL import Image

    from wordgaze.captioner import Captioner

    captioner = Captioner.from_pretrained()
    start = time.perf_counter()
    captioner.caption(Image.new("RGB", (320, 240), (90, 140, 200)))
    return Finding("a caption", f"made in {time.perf_counter() - start:.1f} s")
