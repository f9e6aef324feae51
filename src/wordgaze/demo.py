"""The demo page: a photo in, its captions and the maps of their words out, for this machine only."""

from __future__ import annotations

import os
import signal
import sys
import threading
from abc import ABCMeta
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from wordgaze.errors import ConfigError, PhotoError, WordgazeError

if TYPE_CHECKING:
    from wordgaze.captioner import Captioner
    from wordgaze.explanation.explanation import Explanation

ADDRESS = "127.0.0.1"
_END_SIGNALS = (signal.SIGINT, signal.SIGTERM)
MAX_BYTES = 20 * 1024**2
"""Of an uploaded photo."""

MAX_PIXELS = 50_000_000
"""Of an uploaded photo: 150 MB when it is decoded."""

_MOST_BEAMS, _MOST_CAPTIONS = 8, 4
_SYSTEM_FONTS = ["system-ui", "-apple-system", "Segoe UI", "DejaVu Sans", "sans-serif"]
_STAGE = """<p role="alert" hidden></p>
<div class="stage"><p class="empty">Choose a photo: its caption appears here, with a map for each word.</p></div>
<button type="button" hidden>Download this report</button>"""

# Also what a browser is told, so that a later Gradio can't ask anything of another host either. Its own scripts are
# inline and made at run time.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' blob:; font-src 'self' data:; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'"
)


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
    """The report of a photo that somebody uploaded: ``text``, if there is one, then the model's own captions.

    ``on_warning`` is called with a sentence where the photo is probably not what it should be. Raises PhotoError and
    ConfigError, each a sentence for whoever uploaded it.
    """
    from wordgaze.data.photos import open_photo
    from wordgaze.explanation.report import html_report

    if len(content) > MAX_BYTES:
        raise PhotoError(f"{name} has more than {MAX_BYTES // 1024**2} MB; make it smaller first.")
    try:
        doubt = None if on_warning is None else lambda message: on_warning(f"{name} {message}.")
        photo = open_photo(content, max_pixels=MAX_PIXELS, on_warning=doubt)
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
    others = [
        captioner.explain(photo, caption.text, method)
        for caption in best.caption.alternatives
        if caption.words
    ]
    captions: dict[str, Explanation] = {}  # by text, since several ways to spell one out are found
    for explanation in [*own, best, *others]:
        note = "yours" if explanation in own else ""
        captions.setdefault(explanation.caption.text, replace(explanation, name=name, note=note))
    first, *alternatives = captions.values()
    return html_report([replace(first, alternatives=tuple(alternatives))])


def _upload_class(gradio: Any) -> Any:
    """Gradio's component for photos, which hands on the file as it came, and takes nothing but uploads."""

    def preprocess(self: Any, payload: Any) -> Any:
        # The file as it is: open_photo reads more kinds than Gradio does, and says what is wrong with others.
        return payload

    async def async_move_resource_to_block_cache(self: Any, path: Any) -> Any:
        # Here Gradio would fetch an address. That a path is an upload or an example it has checked before.
        if not Path(path).is_file():
            raise gradio.Error("Upload a photo; addresses are not fetched.", print_exception=False)
        return str(path)

    # A class, since Gradio makes such a component anew when an example is chosen; made past Gradio's own metaclass,
    # which would write a stub file beside this one.
    methods = (preprocess, async_move_resource_to_block_cache)
    attributes = {
        "is_template": True,
        "__module__": __name__,
        **{method.__name__: method for method in methods},
    }
    return ABCMeta.__new__(type(gradio.Image), "Photo", (gradio.Image,), attributes)


def build(captioner: Captioner, examples: Sequence[str | os.PathLike[str]] = ()) -> Any:
    """The page, a ``gradio.Blocks``; ``examples``: photos to begin with."""
    gradio = _import_gradio()

    def show(photo: Any, text: str, beams: float, least: float, most: float, method: str) -> dict[str, str]:
        if photo is None:
            return {"report": "", "message": "", "name": ""}
        name = photo.orig_name or "photo"
        doubts: list[str] = []
        try:
            content = Path(photo.path).read_bytes()
            report = explain_upload(
                captioner, content, name, text, int(beams), int(least), int(most), method, doubts.append
            )
        except WordgazeError as error:
            return {"report": "", "message": str(error), "name": ""}
        return {"report": report, "message": " ".join(doubts), "name": Path(name).stem}

    with gradio.Blocks(title="wordgaze", analytics_enabled=False, delete_cache=(600, 3600)) as page:
        gradio.Markdown(
            "# wordgaze\nDescribes a photo, and shows for every word where in the photo the model looked.",
            elem_id="title",
        )
        with gradio.Row():
            with gradio.Column(scale=1, min_width=280):
                photo = _upload_class(gradio)(
                    label="Photo", type="filepath", sources=["upload", "clipboard"], height=260, buttons=[]
                )
                if examples:
                    gradio.Examples([[os.fspath(path)] for path in examples], [photo], cache_examples=False)
                text = gradio.Textbox(
                    label="A caption of your own (optional)",
                    placeholder="a cat on a sofa",
                    info="See what these words look at, and how probable the model finds them.",
                    max_length=400,
                )
                button = gradio.Button("Show where the model looks", variant="primary")
                with gradio.Accordion("Options", open=False):
                    options = _options(gradio, captioner)
            with gradio.Column(scale=2, min_width=320):
                viewer = gradio.HTML(
                    html_template=_STAGE,
                    js_on_load=_part("demo.js"),
                    value={"report": "", "message": "", "name": ""},
                    elem_id="viewer",
                    apply_default_css=False,
                )
        gradio.on(
            [
                photo.change, text.submit, button.click,
                *(slider.release for slider in options[:3]), options[3].input,
            ],
            show,
            [photo, text, *options],
            viewer,
            show_progress="minimal",
            trigger_mode="always_last",
            api_visibility="private",
        )  # fmt: skip
    return page


def _options(gradio: Any, captioner: Captioner) -> tuple[Any, Any, Any, Any]:
    """Return the sliders of the beams, the shortest and the longest caption, and the list of methods."""
    from wordgaze.explanation.methods import DEFAULT_METHOD

    defaults, longest = captioner.parts.generation, captioner.model.config.decoder.positions
    return (
        gradio.Slider(1, _MOST_BEAMS, defaults.num_beams, step=1, label="Beams"),
        gradio.Slider(0, longest, defaults.min_length, step=1, label="Shortest, in tokens"),
        gradio.Slider(1, longest, defaults.max_length, step=1, label="Longest, in tokens"),
        gradio.Dropdown(list(captioner.methods), value=DEFAULT_METHOD, label="Method of the maps"),
    )


def _part(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")


class _Policy:  # an ASGI application around Gradio's
    """Adds the page's policy to every answer, and answers nobody who came by another name than ``hosts``.

    A page of somebody else, whose name was made to point here, is refused so (DNS rebinding). None: any name will do.
    """

    def __init__(self, app: Any, hosts: Sequence[str] | None) -> None:
        self.app, self.hosts = app, hosts

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_with_policy(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-security-policy", _POLICY.encode())]
            await send(message)

        host = dict(scope.get("headers", ())).get(b"host", b"").decode("latin-1").partition(":")[0]
        if self.hosts is not None and scope["type"] == "http" and host not in self.hosts:
            await send({"type": "http.response.start", "status": 421, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        await self.app(scope, receive, send_with_policy)


def where() -> tuple[str, tuple[str, ...] | None]:
    """The address to serve on, and the names to answer to: this machine's own.

    On a hosted Space, which is a container of its own, every address and any name: its proxy must reach the page.
    """
    if os.environ.get("SYSTEM") == "spaces":  # set by the host
        return "0.0.0.0", None
    return ADDRESS, (ADDRESS, "localhost")


@contextmanager
def _temporary_files() -> Iterator[None]:
    """Gradio's files in a folder that is removed with all that is in it."""
    name = "GRADIO_TEMP_DIR"  # which Gradio reads whenever a file comes
    before = os.environ.get(name)
    with TemporaryDirectory(prefix="wordgaze-demo-", ignore_cleanup_errors=True) as folder:
        os.environ[name] = folder
        try:
            yield
        finally:
            del os.environ[name]
            if before is not None:
                os.environ[name] = before


@contextmanager
def serve(
    captioner: Captioner, port: int | None = None, examples: Sequence[str | os.PathLike[str]] = ()
) -> Iterator[Any]:
    """The page while it is served, as :func:`where` says; ``local_url`` leads to it.

    ``port``: by default the first free one from 7860. Uploads lie in a folder of their own that is removed at the end.
    Raises ConfigError when Gradio is missing or the port is taken.
    """
    check_gradio()
    address, hosts = where()
    with _temporary_files():  # before Gradio is imported, since that makes a folder
        gradio = _import_gradio()
        page = build(captioner, examples)
        try:
            page.launch(
                server_name=address,
                server_port=port,
                share=False,
                inline=False,
                ssr_mode=False,
                pwa=False,
                mcp_server=False,
                enable_monitoring=False,
                run_history=False,
                quiet=True,
                show_error=True,
                prevent_thread_lock=True,
                max_file_size=MAX_BYTES,
                footer_links=[],
                app_kwargs={"middleware": [(_Policy, (hosts,), {})]},
                theme=gradio.themes.Default(
                    primary_hue="orange", neutral_hue="stone", font=_SYSTEM_FONTS, font_mono=["monospace"]
                ).set(
                    button_primary_background_fill="*primary_700",
                    button_primary_background_fill_hover="*primary_800",
                    button_primary_background_fill_dark="*primary_700",
                    button_primary_background_fill_hover_dark="*primary_600",
                    body_text_color_subdued="*neutral_500",
                ),
                css=_part("demo.css"),
            )
        except OSError as error:
            ports = "The ports from 7860 on are" if port is None else f"Port {port} is"
            raise ConfigError(f"{ports} not free for the demo; choose another.") from error
        try:
            yield page
        finally:
            page.close(verbose=False)


def launch(
    captioner: Captioner | None = None,
    port: int | None = None,
    examples: Sequence[str | os.PathLike[str]] = (),
) -> None:
    """Serves the page, says where, and waits for Ctrl-C or SIGTERM; the bundled model by default."""
    check_gradio()  # before the model, which takes longer
    if captioner is None:
        from wordgaze.captioner import Captioner

        captioner = Captioner.from_pretrained()
    ended = threading.Event()
    with _signals_kept(), serve(captioner, port, examples) as page:
        for number in _END_SIGNALS:
            signal.signal(number, lambda *_: ended.set())
        print(f"wordgaze: the demo is at {page.local_url} until Ctrl-C", file=sys.stderr, flush=True)
        ended.wait()


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Behind this block Ctrl-C and SIGTERM do what they did before it."""
    before = {number: signal.getsignal(number) for number in _END_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def check_gradio() -> None:
    """Raises ConfigError when Gradio is missing; imports nothing yet."""
    if find_spec("gradio") is None:
        raise ConfigError('The demo needs Gradio; install it: pip install "wordgaze[demo]"')


def _import_gradio() -> Any:
    check_gradio()
    # Read when Gradio is imported: it would report each start to its makers.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    import gradio

    return gradio
