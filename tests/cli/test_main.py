"""The group: lazy commands, exit statuses, one sentence for every error."""

from __future__ import annotations

import errno
import shlex
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from wordgaze import __version__
from wordgaze.cli import main as cli
from wordgaze.cli import options
from wordgaze.errors import PhotoError, PhotoWarning
from wordgaze.generation.options import GenerationOptions

Invoke = Callable[..., Result]

FULL = "No space left on device; free some space, or choose another output"


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Runs ``wordgaze try ARGUMENTS`` with a command whose body is given."""

    def run(body: Callable[[], Any], *arguments: str) -> Result:
        module = ModuleType("wordgaze.cli.try")

        @click.command()
        @options.common_options
        def command() -> None:
            body()

        module.command = command  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "wordgaze.cli.try", module)
        monkeypatch.setitem(cli.COMMANDS, "try", "A command of the tests.")
        return CliRunner().invoke(cli.main, [*arguments] if "try" in arguments else ["try", *arguments])

    return run


def failing(error: BaseException) -> Callable[[], None]:
    def body() -> None:
        raise error

    return body


def test_help_and_version_import_no_torch_and_no_rich() -> None:
    code = (
        "import sys\n"
        "from wordgaze.cli.main import main\n"
        "main(sys.argv[1:], standalone_mode=False)\n"
        "print(sorted({'torch', 'rich', 'numpy', 'PIL', 'timm', 'lightning'} & set(sys.modules)))\n"
    )
    for flag in ("--help", "--version"):
        done = subprocess.run([sys.executable, "-c", code, flag], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "[]"


def test_importing_the_commands_imports_no_torch() -> None:
    code = (
        "import sys\n"
        "from wordgaze.cli.main import COMMANDS, main\n"
        "for name in COMMANDS: main.get_command(None, name)\n"
        "print('torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "False"


def test_help_lists_every_command() -> None:
    result = CliRunner().invoke(cli.main, ["--help"])
    assert result.exit_code == 0
    for name, text in cli.COMMANDS.items():
        assert any(line.split() == [name, *text.split()] for line in result.stdout.splitlines()), name


def test_version() -> None:
    assert CliRunner().invoke(cli.main, ["--version"]).stdout == f"wordgaze {__version__}\n"


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help_and_the_common_flags(name: str) -> None:
    result = CliRunner().invoke(cli.main, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert "--debug" in result.stdout and "--threads" in result.stdout


def test_an_error_of_the_user_is_one_sentence_and_status_2(invoke: Invoke) -> None:
    result = invoke(failing(PhotoError("cat.jpg holds no picture; give a photo.")))
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr == "wordgaze: cat.jpg holds no picture; give a photo.\n"


@pytest.mark.parametrize("arguments", [("--debug", "try"), ("try", "--debug")])
def test_debug_adds_the_traceback_wherever_it_stands(invoke: Invoke, arguments: tuple[str, ...]) -> None:
    result = invoke(failing(PhotoError("cat.jpg holds no picture.")), *arguments)
    assert result.exit_code == 2
    assert "Traceback" in result.stderr and "in body" in result.stderr
    assert result.stderr.endswith("\nwordgaze: cat.jpg holds no picture.\n")


def test_debug_does_not_outlive_its_run(invoke: Invoke) -> None:
    invoke(failing(PhotoError("no.")), "--debug")
    assert "Traceback" not in invoke(failing(PhotoError("no."))).stderr


@pytest.mark.parametrize("arguments", [("--threads", "3", "try"), ("--threads", "9", "try", "--threads=3")])
def test_threads_are_set_before_a_command_runs(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(options, "set_threads", asked.append)
    result = invoke(lambda: click.echo(asked[-1]), *arguments)
    assert (result.exit_code, result.output) == (0, "3\n")


@pytest.mark.parametrize("count", ["0", "-1", "two", "99999999999999999999"])
def test_threads_are_a_number_of_them(invoke: Invoke, count: str) -> None:
    result = invoke(lambda: None, "--threads", count)
    assert result.exit_code == 2
    assert "'--threads'" in result.stderr and count in result.stderr


def test_train_takes_threads_for_no_setting_of_the_config(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(options, "set_threads", asked.append)
    command = cli.main.get_command(click.Context(cli.main), "train")
    assert command is not None
    arguments = ["--config", "a.yaml", "--train.epochs", "3", "--threads", "2", "--train.seed=4"]
    assert command.make_context("train", arguments).args == ["--train.epochs", "3", "--train.seed=4"]
    assert asked == [2]


@pytest.mark.parametrize(
    "arguments",
    [
        ["caption", "cat.jpg", "--model", ""],
        ["explain", "cat.jpg", "-o", ""],
        ["evaluate", "--captions", "", "--results", "a.json"],
        ["evaluate", "--captions=a.json", "--results=b.json", "--json="],
        ["grounding", "--images", "", "--captions", "a.json", "--instances", "b.json"],
        ["train", "--config", "a.yaml", "--out", ""],
    ],
    ids=lambda arguments: " ".join(arguments),
)
def test_an_empty_name_is_not_the_current_folder(arguments: list[str]) -> None:
    result = CliRunner().invoke(cli.main, arguments)
    assert result.exit_code == 2
    assert "is empty; give a name, or leave -" in result.stderr


def test_a_bug_says_that_it_is_one(invoke: Invoke) -> None:
    result = invoke(failing(ValueError("shapes\ndiffer")))
    assert result.exit_code == 2
    assert "bug" in result.stderr and "ValueError: shapes differ" in result.stderr and "--debug" in result.stderr
    assert result.stderr.count("\n") == 1


def test_the_system_s_refusals_are_no_bugs(invoke: Invoke) -> None:
    denied = invoke(failing(PermissionError(errno.EACCES, "Permission denied", "maps.png")))
    assert (denied.exit_code, denied.stderr) == (2, "wordgaze: maps.png: Permission denied\n")
    full = invoke(failing(OSError(errno.ENOSPC, "No space left on device")))
    assert (full.exit_code, full.stderr) == (2, f"wordgaze: {FULL}\n")
    memory = invoke(failing(MemoryError()))
    assert memory.exit_code == 2
    assert "--batch-size" in memory.stderr and "bug" not in memory.stderr


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
            "out of memory; try a smaller",
        ),
        (ModuleNotFoundError("No module named 'lightning'", name="lightning"), "lightning can't be imported"),
        (ImportError("libgomp.so.1: cannot open", name="torch._C"), "torch._C can't be imported"),
        (OSError("libcudart.so.13: cannot open shared object file"), "`wordgaze doctor` says what works"),
    ],
)
def test_an_installation_that_is_broken_or_too_small_is_no_bug(invoke: Invoke, error: Exception, said: str) -> None:
    result = invoke(failing(error))
    assert result.exit_code == 2
    assert said in result.stderr and "bug" not in result.stderr and result.stderr.count("\n") == 1


def test_a_module_of_ours_that_is_missing_is_a_bug(invoke: Invoke) -> None:
    error = ModuleNotFoundError("No module named 'wordgaze.nonsense'", name="wordgaze.nonsense")
    assert "this is a bug" in invoke(failing(error)).stderr


def test_memory_that_training_lacks_is_asked_for_by_its_own_flag() -> None:
    assert "--data.batch_size." in cli._sentence(MemoryError(), "train")


def warn() -> None:
    warnings.warn("cat.jpg ends early.", PhotoWarning, stacklevel=1)
    warnings.warn("Corrupt EXIF data.", stacklevel=1)


def test_our_warnings_are_sentences_and_others_are_shown_to_nobody(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "warnoptions", [])
    result = invoke(warn)
    assert (result.exit_code, result.stderr) == (0, "wordgaze: cat.jpg ends early.\n")


@pytest.mark.parametrize("options", [[], ["--debug"]], ids=["Python's -W", "--debug"])
def test_every_warning_is_shown_to_those_who_ask(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    monkeypatch.setattr(sys, "warnoptions", [] if options else ["default"])
    shown: list[str] = []
    monkeypatch.setattr(warnings, "showwarning", lambda message, *_, **__: shown.append(str(message)))
    assert invoke(warn, *options).exit_code == 0
    assert shown == ["cat.jpg ends early.", "Corrupt EXIF data."]


def test_interrupted_is_130(invoke: Invoke) -> None:
    result = invoke(failing(KeyboardInterrupt()))
    assert result.exit_code == 130
    assert result.stderr.strip() == "wordgaze: interrupted"


@pytest.mark.parametrize("leave", [lambda: click.get_current_context().exit(1), lambda: sys.exit(1)])
def test_a_command_chooses_its_status(invoke: Invoke, leave: Callable[[], None]) -> None:
    result = invoke(leave)
    assert (result.exit_code, result.output) == (1, "")


@pytest.mark.parametrize("arguments", [["nonsense"], ["--nonsense"], ["doctor", "--nonsense"]])
def test_wrong_usage_is_2_in_click_s_words(arguments: list[str]) -> None:
    result = CliRunner().invoke(cli.main, arguments)
    assert result.exit_code == 2
    assert "No such" in result.stderr and "Usage:" in result.stderr


PROCESS = """
import sys, types, click
from wordgaze.cli import main as cli

@click.command()
def command():
    {body}

module = types.ModuleType("wordgaze.cli.try")
module.command = command
sys.modules["wordgaze.cli.try"] = module
cli.COMMANDS["try"] = "A command of the tests."
cli.main(["try"])
"""


def start(body: str) -> subprocess.Popen[bytes]:
    code = PROCESS.format(body=body).replace('cli.main(["try"])', 'sys.argv[1:] = ["try"]\ncli.main()')
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def in_a_shell(arguments: str, body: str = "") -> subprocess.CompletedProcess[str]:
    """Runs a shell's line in which PYTHON is ``wordgaze try``, or with ``arguments`` another command."""
    code = PROCESS.format(body=body or "print('done')").replace('main(["try"])', 'main(sys.argv[1:] or ["try"])')
    line = arguments.replace("PYTHON", f"{shlex.quote(sys.executable)} -c {shlex.quote(code)}")
    return subprocess.run(["sh", "-c", line], capture_output=True, text=True)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell")
@pytest.mark.parametrize(
    ("line", "status", "said"),
    [
        ("PYTHON >&-", 0, ""),
        ("PYTHON 2>&-", 0, ""),
        ("PYTHON <&- >&- 2>&-", 0, ""),
        ("PYTHON nonsense 2>&-", 2, ""),
        ("mkdir gone && cd gone && rmdir ../gone && PYTHON", 2, "The current folder can't be used"),
    ],
)
def test_streams_that_are_closed_and_a_folder_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, status: int, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = in_a_shell(line)
    assert done.returncode == status
    assert said in done.stderr and "bug" not in done.stderr and done.stderr.count("\n") == bool(said)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("line", ["PYTHON >/dev/full", "PYTHON --help >/dev/full", "PYTHON --version >/dev/full"])
def test_a_full_disk_under_stdout_is_one_sentence(line: str) -> None:
    done = in_a_shell(line)
    assert (done.returncode, done.stderr) == (2, f"wordgaze: {FULL}\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_under_stderr_leaves_the_exit_status() -> None:
    assert in_a_shell("PYTHON 2>/dev/full", "raise ValueError").returncode == 2


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell")
def test_no_file_gets_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    file = tmp_path / "out"
    done = in_a_shell("PYTHON >&-", f"file = open({str(file)!r}, 'w'); import os; os.write(1, b'stray')")
    assert (done.returncode, file.read_text()) == (0, "")


@pytest.mark.skipif(sys.platform == "win32", reason="pipes close differently there")
@pytest.mark.parametrize("lines", [3, 100_000], ids=["at the end", "in between"])
def test_a_reader_that_leaves_ends_it_silently(lines: int) -> None:
    process = start(f"[click.echo('a line') if {lines} > 3 else print('a line') for _ in range({lines})]")
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()  # before the first line: `print` fails at the flush, `echo` at its first line
    assert process.stderr.read() == b""
    assert process.wait() == 141


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to send there")
def test_control_c_leaves_one_line() -> None:
    # Where a script has put the tests in the background, SIGINT is ignored, and children inherit that.
    heard = "import signal, time; signal.signal(signal.SIGINT, signal.default_int_handler)"
    process = start(f"{heard}; print('ready', flush=True); time.sleep(60)")
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline() == b"ready\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == -signal.SIGINT  # a shell shows 130
    assert process.stderr.read().strip() == b"wordgaze: interrupted"


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux")
def test_a_file_name_that_is_no_text_leaves_as_it_came() -> None:
    process = start("import os; click.echo(os.fsdecode(b'caf\\xe9.jpg'))")
    output, error = process.communicate()
    assert (output, process.returncode) == (b"caf\xe9.jpg\n", 0), error


def test_the_generation_flags_are_the_fields_of_generation_options() -> None:
    found: dict[str, Any] = {}

    @click.command()
    @options.generation_options
    def command(**flags: Any) -> None:
        found.update(flags)

    assert CliRunner().invoke(command).exit_code == 0
    assert found == dict.fromkeys([*(field.name for field in fields(GenerationOptions)), "batch_size"])


def test_given_keeps_what_was_asked_for() -> None:
    found = {}

    @click.command()
    @options.model_options
    @options.generation_options
    def command(
        model: str | None, backend: str, device: str | None, precision: str, mirrored: bool | None, **generation: Any
    ) -> None:
        found.update(model=model, backend=backend, device=device, precision=precision, mirrored=mirrored)
        found.update(options.given(**generation))

    arguments = ["--model", "folder", "--num-beams", "1", "--no-sample", "--top-k", "0"]
    assert CliRunner().invoke(command, arguments).exit_code == 0
    assert found == {
        "model": "folder", "backend": "auto", "device": None, "precision": "float32", "mirrored": None,
        "num_beams": 1, "sample": False, "top_k": 0,
    }  # fmt: skip
