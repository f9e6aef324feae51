"""The demo's server: for this machine only; it fetches nothing, and leaves no files when it ends."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from wordgaze.demo.limits import Limits
from wordgaze.demo.page import MAX_BYTES, build, check_gradio, import_gradio, part
from wordgaze.errors import ConfigError

if TYPE_CHECKING:
    from wordgaze.captioner import Captioner

ADDRESS = "127.0.0.1"
_END_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SYSTEM_FONTS = ["system-ui", "-apple-system", "Segoe UI", "DejaVu Sans", "sans-serif"]

# Also what a browser is told, so that a later Gradio can't ask anything of another host either. Its own scripts are
# inline and made at run time.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' blob:; font-src 'self' data:; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'"
)


class _Policy:  # an ASGI application around Gradio's
    """Add the page's policy to every answer, and refuse who came by another name than ``hosts`` (None: any will do).

    So a page of somebody else, whose name was made to point here, gets nothing (DNS rebinding).
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


def address_and_hosts() -> tuple[str, tuple[str, ...] | None]:
    """Return the address to serve on, and the names to answer to: this machine's own.

    On a hosted Space, which is a container of its own, every address and any name: its proxy must reach the page.
    """
    if os.environ.get("SYSTEM") == "spaces":  # set by the host
        return "0.0.0.0", None
    return ADDRESS, (ADDRESS, "localhost")


@contextmanager
def _temporary_files() -> Iterator[None]:
    """Keep Gradio's files in a folder that is removed with all that is in it."""
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
def serve(captioner: Captioner, port: int | None = None) -> Iterator[Any]:
    """Serve the page, as :func:`address_and_hosts` says, and yield it; ``local_url`` leads to it.

    ``port``: by default the first free one from 7860. Uploads lie in a folder of their own that is removed at the end.
    Raises ConfigError when Gradio is missing or the port is taken.
    """
    check_gradio()
    address, hosts = address_and_hosts()
    with _temporary_files():  # before Gradio is imported, since that makes a folder
        gradio = import_gradio()
        page = build(captioner)
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
                app_kwargs={"middleware": [(_Policy, (hosts,), {}), (Limits, (), {})]},
                theme=gradio.themes.Default(
                    primary_hue="orange", neutral_hue="stone", font=_SYSTEM_FONTS, font_mono=["monospace"]
                ).set(
                    button_primary_background_fill="*primary_700",
                    button_primary_background_fill_hover="*primary_800",
                    button_primary_background_fill_dark="*primary_700",
                    button_primary_background_fill_hover_dark="*primary_600",
                    body_text_color_subdued="*neutral_500",
                    slider_color="*primary_700",
                    slider_color_dark="*primary_600",
                ),
                css=part("page.css"),
            )
        except OSError as error:
            ports = "The ports from 7860 on are" if port is None else f"Port {port} is"
            raise ConfigError(f"{ports} not free for the demo; choose another.") from error
        try:
            yield page
        finally:
            page.close(verbose=False)


def launch(captioner: Captioner | None = None, port: int | None = None) -> None:
    """Serve the page, say where, and wait for Ctrl-C or SIGTERM; the bundled model by default."""
    check_gradio()  # before the model, which takes longer
    if captioner is None:
        from wordgaze.captioner import Captioner

        captioner = Captioner.from_pretrained()
    ended = threading.Event()
    with _signals_kept(), serve(captioner, port) as page:
        for number in _END_SIGNALS:
            signal.signal(number, lambda *_: ended.set())
        print(f"wordgaze: the demo is at {page.local_url} until Ctrl-C", file=sys.stderr, flush=True)
        ended.wait()


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM do after this block what they did before it."""
    before = {number: signal.getsignal(number) for number in _END_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
