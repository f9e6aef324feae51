"""What the demo shows: a photo to choose, the report of its captions, and at first those of an example."""

from __future__ import annotations

import os
from abc import ABCMeta
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wordgaze.errors import ConfigError, PhotoError, WordgazeError

if TYPE_CHECKING:
    from wordgaze.captioner import Captioner
    from wordgaze.explanation.explanation import Explanation

EXAMPLE = Path(__file__).with_name("kingfisher.jpg")
"""The photo that the page opens with."""

MAX_BYTES = 20 * 1024**2
"""Of an uploaded photo."""

MAX_PIXELS = 50_000_000
"""Of an uploaded photo: 150 MB when it is decoded."""

MAX_WAITING = 20
"""Photos that may wait for the one that the model looks at; who comes then is told that the demo is busy."""

_MOST_BEAMS, _MOST_CAPTIONS = 8, 4
_STAGE = """<p role="alert" hidden></p>
<div class="stage"><p class="empty">Looking…</p></div>
<button type="button" hidden>Download this report</button>"""

# What the viewer shows: a report, or a sentence on what is wrong, or both; the name is the downloaded file's.
_NOTHING = {"report": "", "message": "", "name": ""}


def explain_upload(
    captioner: Captioner,
    content: bytes,
    name: str,
    text: str = "",
    num_beams: int = 3,
    min_length: int = 0,
    max_length: int = 30,
    method: str | None = None,
    on_warning: Callable[[str], None] | None = None,
) -> str:
    """Return the report of a photo that somebody uploaded: ``text``, if there is one, then the model's own captions.

    ``on_warning`` is called with a sentence where the photo is probably not what it should be. Raises PhotoError and
    ConfigError, each a sentence for whoever uploaded it.
    """
    from wordgaze.data.photos import open_photo
    from wordgaze.explanation.report import html_report

    if len(content) > MAX_BYTES:
        raise PhotoError(f"{name} has more than {MAX_BYTES // 1024**2} MB; make it smaller first.")
    try:
        on_doubt = None if on_warning is None else lambda message: on_warning(f"{name} {message}.")
        photo = open_photo(content, max_pixels=MAX_PIXELS, on_warning=on_doubt)
    except PhotoError as error:
        raise PhotoError(f"{name} {error}.") from error
    own = [captioner.explain(photo, text, method)] if text.strip() else []
    best = captioner.explain(
        photo,
        method=method,
        num_beams=num_beams,
        num_captions=min(num_beams, _MOST_CAPTIONS),
        min_length=min_length,
        max_length=max_length,
    )
    others = [captioner.explain(photo, caption.text, method) for caption in best.caption.alternatives if caption.words]
    captions: dict[str, Explanation] = {}  # by text, since the search finds several spellings of one
    for explanation in [*own, best, *others]:
        note = "yours" if explanation in own else ""
        captions.setdefault(explanation.caption.text, replace(explanation, name=name, note=note))
    first, *alternatives = captions.values()
    return html_report([replace(first, alternatives=tuple(alternatives))])


def build(captioner: Captioner) -> Any:
    """Return the page, a ``gradio.Blocks``; it opens with ``EXAMPLE``, explained when somebody first comes."""
    gradio = import_gradio()

    def show(photo: Any, text: str, *options: Any) -> dict[str, str]:
        if photo is None:
            return _NOTHING
        return _answer(captioner, Path(photo.path), photo.orig_name or "photo", text, *options)

    @cache
    def show_example() -> dict[str, str]:
        return _answer(captioner, EXAMPLE, EXAMPLE.name, "", *_default_options(captioner))

    with gradio.Blocks(title="wordgaze", analytics_enabled=False, delete_cache=(600, 3600)) as page:
        gradio.Markdown(
            "# wordgaze\nDescribes a photo, and shows for every word where in the photo the model looked.",
            elem_id="title",
        )
        with gradio.Row():
            with gradio.Column(scale=1, min_width=280):
                photo, text, button, options = _inputs(gradio, captioner)
            with gradio.Column(scale=2, min_width=320):
                viewer = gradio.HTML(
                    html_template=_STAGE,
                    js_on_load=part("page.js"),
                    value=_NOTHING,
                    elem_id="viewer",
                    apply_default_css=False,
                )
        # One photo at a time goes through the model.
        how: dict[str, Any] = {
            "show_progress": "minimal",
            "api_visibility": "private",
            "concurrency_id": "model",
        }
        page.load(show_example, None, viewer, **how)
        # Not one `photo.change`: an upload over another photo makes two, and each would go through the model.
        photo.clear(lambda: _NOTHING, None, viewer, **how)
        gradio.on(
            [
                photo.upload, text.submit, button.click,
                *(slider.release for slider in options[:3]), options[3].input,
            ],
            show,
            [photo, text, *options],
            viewer,
            trigger_mode="always_last",
            **how,
        )  # fmt: skip
    # The page tells who waits their place in the queue.
    page.queue(max_size=MAX_WAITING, default_concurrency_limit=1)
    return page


def _answer(
    captioner: Captioner,
    path: Path,
    name: str,
    text: str,
    beams: float,
    least: float,
    most: float,
    method: str,
) -> dict[str, str]:
    """Return what the viewer shows for a photo's file."""
    doubts: list[str] = []
    try:
        report = explain_upload(
            captioner, path.read_bytes(), name, text, int(beams), int(least), int(most), method, doubts.append
        )
    except WordgazeError as error:
        return {**_NOTHING, "message": str(error)}
    return {"report": report, "message": " ".join(doubts), "name": Path(name).stem}


def _inputs(gradio: Any, captioner: Captioner) -> tuple[Any, Any, Any, tuple[Any, Any, Any, Any]]:
    """Return the photo, the text, the button and the options."""
    photo = _upload_class(gradio)(
        os.fspath(EXAMPLE),
        label="Photo",
        type="filepath",
        sources=["upload", "clipboard"],
        height=260,
        buttons=[],
    )
    text = gradio.Textbox(
        label="A caption of your own (optional)",
        placeholder="a cat on a sofa",
        info="See what these words look at, and how probable the model finds them.",
        max_length=400,
    )
    button = gradio.Button("Show where the model looks", variant="primary")
    with gradio.Accordion("Options", open=False):
        options = _options(gradio, captioner)
    return photo, text, button, options


def _upload_class(gradio: Any) -> Any:
    """Return Gradio's component for photos, changed: it hands on the file as it came, and takes uploads alone."""

    def preprocess(self: Any, payload: Any) -> Any:
        # The file as it is: open_photo reads more kinds than Gradio does, and says what is wrong with others.
        return payload

    async def async_move_resource_to_block_cache(self: Any, path: Any) -> Any:
        # Here Gradio would fetch an address. That a path is an upload or the example it has checked before.
        if not Path(path).is_file():
            raise gradio.Error("Upload a photo; addresses are not fetched.", print_exception=False)
        return str(path)

    # Made past Gradio's own metaclass, which would write a stub file beside this one.
    methods = (preprocess, async_move_resource_to_block_cache)
    attributes = {
        "is_template": True,
        "__module__": __name__,
        **{method.__name__: method for method in methods},
    }
    return ABCMeta.__new__(type(gradio.Image), "Photo", (gradio.Image,), attributes)


def _default_options(captioner: Captioner) -> tuple[int, int, int, str]:
    """Return the model's own number of beams, shortest and longest caption, and the default method."""
    defaults = captioner.parts.generation
    return defaults.num_beams, defaults.min_length, defaults.max_length, captioner.methods[0]


def _options(gradio: Any, captioner: Captioner) -> tuple[Any, Any, Any, Any]:
    """Return the sliders of the beams, the shortest and the longest caption, and the list of methods."""
    num_beams, min_length, max_length, method = _default_options(captioner)
    longest = captioner.parts.config.decoder.positions
    return (
        gradio.Slider(1, _MOST_BEAMS, num_beams, step=1, label="Beams"),
        gradio.Slider(0, longest, min_length, step=1, label="Shortest, in tokens"),
        gradio.Slider(1, longest, max_length, step=1, label="Longest, in tokens"),
        gradio.Dropdown(list(captioner.methods), value=method, label="Method of the maps"),
    )


def part(name: str) -> str:
    """Return one of the page's own files."""
    return (files(__package__) / name).read_text(encoding="utf-8")


def check_gradio() -> None:
    """Raise ConfigError when Gradio is missing; import nothing yet."""
    if find_spec("gradio") is None:
        raise ConfigError('The demo needs Gradio; install it: pip install "wordgaze[demo]"')


def import_gradio() -> Any:
    """Return the module; raise ConfigError when it is missing."""
    check_gradio()
    # Read when Gradio is imported: it would report each start to its makers.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    import gradio

    return gradio
