"""``wordgaze demo``: a sentence without Gradio, and with it a page for this machine only, which asks nobody else."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image

from wordgaze import demo
from wordgaze.captioner import Captioner
from wordgaze.cli.main import main
from wordgaze.demo import limits, server
from wordgaze.demo.page import EXAMPLE, MAX_BYTES
from wordgaze.errors import ConfigError, PhotoError

ROOT = Path(__file__).resolve().parents[2]
APP = ROOT / "demo" / "app.py"


def test_without_gradio_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    result = CliRunner().invoke(main, ["demo", "--model", "./nothere"])
    assert result.exit_code == 2
    assert result.stderr == 'wordgaze: The demo needs Gradio; install it: pip install "wordgaze[demo]"\n'


def test_the_app_only_launches_it() -> None:
    code = APP.read_text(encoding="utf-8").partition('"""\n')[2]
    assert [line for line in code.splitlines() if line] == [
        "from wordgaze.demo import launch",
        'if __name__ == "__main__":',
        "    launch()",
    ]


def captions(report: str) -> list[str]:
    """Return the captions of a report, word by word."""
    lines = re.findall(r'<p class="words".*?>(.*?)</p>', report, re.DOTALL)
    return [" ".join(re.findall(r">([^<>]+)</button>", line)) for line in lines]


def test_a_report_has_the_caption_and_its_alternatives(captioner: Captioner, photos: list[Path]) -> None:
    report = demo.explain_upload(captioner, photos[0].read_bytes(), "my <b>.png", num_beams=3, max_length=6)
    expected = captioner.caption(photos[0], num_beams=3, num_captions=3, max_length=6)
    texts = dict.fromkeys(caption.text for caption in (expected, *expected.alternatives) if caption.words)
    assert captions(report) == list(texts)
    assert "my &lt;b&gt;.png" in report and "my <b>.png" not in report


def test_what_is_doubtful_about_an_upload_is_said_beside_its_report(captioner: Captioner) -> None:
    file = io.BytesIO()
    Image.new("RGBA", (60, 40), (9, 9, 9, 0)).save(file, "PNG")
    said: list[str] = []
    report = demo.explain_upload(captioner, file.getvalue(), "clear.png", max_length=3, on_warning=said.append)
    assert len(captions(report)) > 0
    assert len(said) == 1 and said[0].startswith("clear.png ") and "transparent" in said[0] and said[0].endswith(".")


def test_words_of_one_s_own_come_first(captioner: Captioner, photos: list[Path]) -> None:
    content = photos[0].read_bytes()
    report = demo.explain_upload(captioner, content, "b.png", "A red dog.", num_beams=2, max_length=6)
    assert captions(report)[0] == "a red dog" and "(yours)" in report
    best = captions(demo.explain_upload(captioner, content, "b.png", num_beams=2, max_length=6))[0]
    assert captions(report)[1] == best
    again = demo.explain_upload(captioner, content, "b.png", best, num_beams=2, max_length=6)
    assert captions(again).count(best) == 1


def test_a_method_can_be_chosen(captioner: Captioner, photos: list[Path]) -> None:
    reports = {
        demo.explain_upload(captioner, photos[0].read_bytes(), "b.png", max_length=6, method=method)
        for method in captioner.methods
    }
    assert len(reports) > 1
    with pytest.raises(ConfigError, match="no method"):
        demo.explain_upload(captioner, photos[0].read_bytes(), "b.png", max_length=6, method="nonsense")


def png(size: tuple[int, int]) -> bytes:
    file = io.BytesIO()
    Image.new("1", size).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "my.png is empty"),
        (b"GIF89a", "my.png is damaged"),
        (b"hello", "my.png is not a photo"),
        (
            png((10_000, 5_001)),
            "my.png has 10000 x 5001 = 50,010,000 pixels, more than the 50,000,000 allowed",
        ),
        (bytes(MAX_BYTES + 1), "my.png has more than 20 MB"),
    ],
)
def test_what_is_wrong_with_a_photo_is_said(captioner: Captioner, content: bytes, sentence: str) -> None:
    with pytest.raises(PhotoError, match=re.escape(sentence)) as found:
        demo.explain_upload(captioner, content, "my.png")
    assert str(found.value).endswith(".") and "\n" not in str(found.value)


class Served:
    """A page that is served, as a program that speaks to it sees it."""

    def __init__(self, page: Any, folder: Path) -> None:
        self.page, self.folder = page, folder
        self.url = page.local_url.rstrip("/")

    def open(self, path: str, data: Any = None, **headers: str) -> Any:
        body = data if data is None or isinstance(data, bytes) else json.dumps(data).encode()
        kind = {} if body is None or "Content-Type" in headers else {"Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, body, {**kind, **headers})
        return urllib.request.urlopen(request, timeout=60)

    def upload(self, name: str, content: bytes) -> str:
        """Return the path that the server gives to the uploaded file."""
        head = f'--x\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
        body = head.encode() + content + b"\r\n--x--\r\n"
        kind = "multipart/form-data; boundary=x"
        return json.load(self.open("/gradio_api/upload", body, **{"Content-Type": kind}))[0]

    def show(self, path: str, name: str = "b.png", text: str = "") -> dict[str, Any]:
        """Return the last message of the page's function for a photo."""
        number = next(fn["id"] for fn in self.page.config["dependencies"] if len(fn["inputs"]) == 6)
        photo = {"path": path, "orig_name": name, "meta": {"_type": "gradio.FileData"}}
        return self.call(number, [photo, text, 2, 0, 6, "mean"])

    def begin(self) -> dict[str, str]:
        """Return what the page shows when it is opened."""
        functions = self.page.config["dependencies"]
        number = next(fn["id"] for fn in functions if [event for _, event in fn["targets"]] == ["load"])
        return self.call(number, [])["output"]["data"][0]

    def call(self, number: int, values: list[Any]) -> dict[str, Any]:
        self.open("/gradio_api/queue/join", {"data": values, "fn_index": number, "session_hash": "test"})
        for line in self.open("/gradio_api/queue/data?session_hash=test"):
            if line.startswith(b"data:") and b"process_completed" in line:
                return json.loads(line[5:])
        raise AssertionError("no answer")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that fills with the hosts that this process looks up or connects to."""
    hosts: list[str] = []
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def watched_connect(self: socket.socket, address: Any) -> None:
        hosts.append(address[0] if isinstance(address, tuple) else "unix")
        connect(self, address)

    def watched_look_up(host: Any, *rest: Any, **options: Any) -> Any:
        hosts.append(host)
        return look_up(host, *rest, **options)

    monkeypatch.setattr(socket.socket, "connect", watched_connect)
    monkeypatch.setattr(socket, "getaddrinfo", watched_look_up)
    return hosts


@pytest.fixture
def served(
    captioner: Captioner,
    asked: list[str],
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("files")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.chdir(folder)
    with demo.serve(captioner) as page:
        yield Served(page, folder)
    assert list(folder.iterdir()) == []  # nothing is left of uploads, and nothing else was written
    assert "GRADIO_TEMP_DIR" not in os.environ
    assert not list(Path(demo.__file__).parent.glob("*.pyi"))  # as Gradio writes them beside what extends it
    others = {host for host in asked if not host.startswith("127.")}
    assert others <= {"0.0.0.0", "localhost", "unix"}


@pytest.mark.extra("demo")
def test_a_photo_in_its_report_out(served: Served, photos: list[Path], captioner: Captioner) -> None:
    path = served.upload("b.png", photos[0].read_bytes())
    assert served.folder in Path(path).parents
    answer = served.show(path)["output"]["data"][0]
    expected = demo.explain_upload(captioner, photos[0].read_bytes(), "b.png", "", 2, 0, 6, "mean")
    assert answer == {"report": expected, "message": "", "name": "b"}
    answer = served.show(served.upload("a.jpg", b"\xff\xd8\xff"), "a.jpg")["output"]["data"][0]
    assert answer["message"].startswith("a.jpg is damaged") and not answer["report"]


@pytest.mark.extra("demo")
def test_it_opens_with_an_example_explained_once(
    served: Served, captioner: Captioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    explain = captioner.explain
    monkeypatch.setattr(captioner, "explain", lambda *a, **o: calls.append(a) or explain(*a, **o))
    [photo] = [part["props"]["value"] for part in served.page.config["components"] if part["type"] == "image"]
    assert photo["orig_name"] == EXAMPLE.name
    assert served.open(photo["url"] or f"/gradio_api/file={photo['path']}").read() == EXAMPLE.read_bytes()
    assert calls == []  # nobody waits for it who only starts the demo
    begun = served.begin()
    options = captioner.generation_options()
    expected = demo.explain_upload(
        captioner, EXAMPLE.read_bytes(), EXAMPLE.name, "", options.num_beams, 0, options.max_length
    )
    assert begun == {"report": expected, "message": "", "name": EXAMPLE.stem}
    calls.clear()
    assert served.begin() == begun and calls == []
    answer = served.show(photo["path"], EXAMPLE.name)["output"]["data"][0]  # with other options
    assert answer["name"] == EXAMPLE.stem and answer["report"] not in ("", begun["report"])


def test_the_example_is_the_photo_of_the_readme_and_its_license_named() -> None:
    assert EXAMPLE.read_bytes() == (ROOT / "demo" / EXAMPLE.name).read_bytes()
    assert f"demo/{EXAMPLE.name}" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert EXAMPLE.relative_to(ROOT).as_posix() in (ROOT / "NOTICE").read_text(encoding="utf-8")


@pytest.mark.extra("demo")
def test_neither_an_address_nor_a_path_is_taken_for_a_photo(served: Served, asked: list[str]) -> None:
    asked.clear()
    for path in (
        "http://example.com/cat.jpg",
        "https://127.0.0.1:9/cat.jpg",
        str(EXAMPLE),
        "file:///etc/passwd",
        "/etc/passwd",
        "../../../etc/passwd",
    ):
        answer = served.show(path)
        assert not answer["success"] and "data" not in answer["output"], path
    assert set(asked) <= {"127.0.0.1"}
    with pytest.raises(urllib.error.HTTPError):
        served.open("/gradio_api/file=/etc/passwd")


@pytest.mark.extra("demo")
def test_uploads_have_a_limit(served: Served) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        served.upload("big.png", bytes(MAX_BYTES + 1))
    assert refused.value.code == 413


@pytest.mark.extra("demo")
def test_uploads_together_have_a_limit(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_STORED", EXAMPLE.stat().st_size + 3000)  # the example lies there, too
    served.upload("a.png", bytes(2000))
    with pytest.raises(urllib.error.HTTPError) as refused:
        served.upload("b.png", bytes(range(200)) * 10)
    assert refused.value.code == 503
    assert json.load(refused.value)["detail"].startswith("The demo is busy: it holds as many photos as it may")


@pytest.mark.extra("demo")
def test_only_this_machine_gets_an_answer(served: Served) -> None:
    port = int(served.url.rpartition(":")[2])
    # A page for everybody would be found at each of the loopback addresses, too.
    with pytest.raises(OSError), socket.create_connection(("127.0.0.2", port), timeout=2):
        pass
    with pytest.raises(urllib.error.HTTPError) as refused:  # a stranger's name that was made to lead here
        served.open("/", Host="example.com")
    assert refused.value.code == 421
    assert served.open("/").headers["Content-Security-Policy"].startswith("default-src 'self';")


@pytest.mark.extra("demo")
def test_the_page_names_no_other_host_to_load_from(served: Served) -> None:
    text = served.open("/").read().decode()
    text = re.sub(r"<meta[^>]*>", "", text)  # for those who link to the page; browsers ask nothing of them
    assert not re.findall(r'(?:src|href)="(https?:)?//', text)


@pytest.mark.extra("demo")
def test_a_port_that_is_taken_is_said(captioner: Captioner) -> None:
    with socket.socket() as taken:
        taken.bind((server.ADDRESS, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"Port {port} is not free"), demo.serve(captioner, port):
            pass


def test_a_hosted_space_is_reached_by_its_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    assert server.address_and_hosts() == ("127.0.0.1", ("127.0.0.1", "localhost"))
    monkeypatch.setenv("SYSTEM", "spaces")
    assert server.address_and_hosts() == ("0.0.0.0", None)


@pytest.mark.extra("demo")
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to catch")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_clean_when_it_is_told_to(model_folder: Path, tmp_path: Path, number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "wordgaze", "demo", "--model", model_folder],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    with process:
        try:
            line = process.stderr.readline()
            assert re.fullmatch(r"wordgaze: the demo is at http://127.0.0.1:\d+/ until Ctrl-C\n", line)
            assert [path.name[:14] for path in tmp_path.iterdir()] == ["wordgaze-demo-"]
            process.send_signal(number)
            assert (process.wait(120), process.stderr.read()) == (0, "")
        finally:
            process.kill()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.extra("demo")
def test_it_can_be_ended_from_the_moment_it_says_where_it_is(
    captioner: Captioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Impatient(io.StringIO):
        def write(self, text: str) -> int:
            if "until Ctrl-C" in text:
                signal.raise_signal(signal.SIGINT)
            return super().write(text)

    @contextmanager
    def serve(*_: object) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(local_url="http://127.0.0.1:1/")
        signal.raise_signal(signal.SIGINT)  # once more, while it closes

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    monkeypatch.setattr(server, "serve", serve)
    monkeypatch.setattr(sys, "stderr", Impatient())
    demo.launch(captioner)
    assert [signal.getsignal(number) for number in numbers] == before  # a notebook goes on


def test_the_files_of_a_space_fit_the_package() -> None:
    settings = (APP.parent / "README.md").read_text(encoding="utf-8").split("---\n")[1]
    fields = dict(line.split(": ") for line in settings.splitlines())
    assert (fields["sdk"], fields["app_file"]) == ("gradio", APP.name)
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert f"gradio=={fields['sdk_version']}" in pins
    assert (APP.parent / "requirements.txt").read_text(encoding="utf-8") == "wordgaze[demo]\n"
