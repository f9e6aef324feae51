"""wordgaze captions photos, and shows for every word where in the photo the model looked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wordgaze.captioner import Captioner
    from wordgaze.errors import PhotoError, PhotoWarning, WordgazeError
    from wordgaze.explanation.explanation import Explanation
    from wordgaze.generation.caption import Caption
    from wordgaze.generation.options import GenerationOptions

__version__ = "0.1.0"
__all__ = [
    "Caption",
    "Captioner",
    "Explanation",
    "GenerationOptions",
    "PhotoError",
    "PhotoWarning",
    "WordgazeError",
    "__version__",
]

_HOMES = {
    "Caption": "wordgaze.generation.caption",
    "Captioner": "wordgaze.captioner",
    "Explanation": "wordgaze.explanation.explanation",
    "GenerationOptions": "wordgaze.generation.options",
    "PhotoError": "wordgaze.errors",
    "PhotoWarning": "wordgaze.errors",
    "WordgazeError": "wordgaze.errors",
}


def __getattr__(name: str) -> Any:
    # Imported on first use: `wordgaze --help` must not wait for torch.
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'wordgaze' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
