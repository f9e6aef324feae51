"""The demo page: a photo in, its caption and the maps of its words out, for this machine only."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wordgaze.errors import ConfigError, PhotoError, WordgazeError

if TYPE_CHECKING:
    from wordgaze.captioner import Captioner

ADDRESS = "127.0.0.1"
_SYSTEM_FONTS = ["system-ui", "sans-serif"]


def build(captioner: Captioner) -> Any:
    """The page, a ``gradio.Blocks``; its function is also there for programs, as ``/explain``."""
    gradio = check_gradio()

    def explain(photo: str | None, text: str | None) -> tuple[str, Any]:
        try:
            if photo is None:
                raise PhotoError("There is no photo yet; choose one.")
            # Bytes, since the name of the uploaded copy says nothing to anybody.
            explanation = captioner.explain(Path(photo).read_bytes(), text or None)
        except WordgazeError as error:
            raise gradio.Error(str(error), print_exception=False) from error
        return explanation.caption.text, explanation.grid()

    with gradio.Blocks(title="wordgaze", analytics_enabled=False, delete_cache=(600, 3600)) as page:
        gradio.Markdown(
            "# wordgaze\nDescribes a photo, and shows for every word where in the photo the model looked."
        )
        with gradio.Row():
            photo = gradio.Image(label="Photo", type="filepath", sources=["upload", "clipboard"])
            # The file as it is: open_photo reads more kinds than Gradio does, and says what is wrong with others.
            photo.preprocess = lambda file: file and file.path
            with gradio.Column():
                text = gradio.Textbox(label="Your own words (optional)", placeholder="a cat on a sofa")
                button = gradio.Button("Show where the model looks", variant="primary")
                caption = gradio.Textbox(label="Caption", interactive=False)
        maps = gradio.Image(label="Maps", type="pil", format="png", interactive=False)
        gradio.on(
            [photo.upload, text.submit, button.click],
            explain,
            [photo, text],
            [caption, maps],
            api_name="explain",
        )
    return page


def start(captioner: Captioner, port: int | None = None) -> Any:
    """Serves the page on the loopback address only, and returns it: ``local_url`` is where, ``close()`` ends it.

    ``port``: by default the first free one from 7860. Raises ConfigError when Gradio is missing or the port is taken.
    """
    gradio = check_gradio()
    page = build(captioner)
    try:
        page.launch(
            server_name=ADDRESS,
            server_port=port,
            share=False,
            ssr_mode=False,
            quiet=True,
            show_error=True,
            prevent_thread_lock=True,
            theme=gradio.themes.Default(font=_SYSTEM_FONTS, font_mono=["monospace"]),
        )
    except OSError as error:
        where = "The ports from 7860 on are" if port is None else f"Port {port} is"
        raise ConfigError(f"{where} not free for the demo; choose another.") from error
    return page


def launch(captioner: Captioner | None = None, port: int | None = None) -> None:
    """Serves the page, says where, and waits for Ctrl-C; the bundled model by default."""
    check_gradio()  # before the model, which takes longer
    if captioner is None:
        from wordgaze.captioner import Captioner

        captioner = Captioner.from_pretrained()
    page = start(captioner, port)
    print(f"wordgaze: the demo is at {page.local_url} until Ctrl-C", file=sys.stderr, flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        page.close(verbose=False)


def check_gradio() -> Any:
    """The ``gradio`` module; raises ConfigError when it is missing."""
    # Read when Gradio is imported: it would report each start to its makers.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        import gradio
    except ImportError:
        raise ConfigError('The demo needs Gradio; install it: pip install "wordgaze[demo]"') from None
    return gradio
