"""The command line as a whole: calls, help, streams, and missing packages."""

from __future__ import annotations

import builtins
import io
import os
import shutil
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from cli.in_process import assert_error, call

import vocalsep_async.__main__ as command_line
from vocalsep_async import __version__
from vocalsep_async.emulator import Emulator

COMMANDS = ("get", "wait", "track", "download", "create", "credits", "demo", "emulator", "journal")


@pytest.fixture
def vocalsep_emulator_options() -> dict[str, Any]:
    return {"rate_limit": None, "speed": 1000}


def run(*words: str, environ: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vocalsep_async", *words]
    env = {**os.environ, **(environ or {})}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


# Calls and help


def test_the_script_and_the_module_print_the_same_help() -> None:
    (script,) = entry_points(group="console_scripts", name="vocalsep")
    assert script.load() is command_line.main
    # Next to the interpreter, without following a symbolic link.
    there = shutil.which("vocalsep", path=str(Path(sys.executable).parent))
    assert there is not None
    shown = subprocess.run([there, "--help"], capture_output=True, text=True, check=True)
    module = run("--help")
    assert module.stdout.replace("python -m vocalsep_async", "vocalsep").split() == (
        shown.stdout.split()
    )


def test_a_call_without_a_command_lists_the_commands(vocalsep_emulator: Emulator) -> None:
    shown = call(vocalsep_emulator)
    assert all(command in shown.output for command in COMMANDS)
    assert shown.exit_code == 2


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_lists_the_commands_and_the_exit_codes(vocalsep_emulator: Emulator, word: str) -> None:
    shown = call(vocalsep_emulator, word)
    assert (shown.exit_code, shown.stderr) == (0, "")
    assert all(command in shown.stdout for command in COMMANDS)
    assert "130 interrupted" in shown.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(
    vocalsep_emulator: Emulator, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = call(vocalsep_emulator, command, "--help")
    assert shown.exit_code == 0
    assert "usage:" in (shown.stdout + capsys.readouterr().out).lower()
    assert vocalsep_emulator.requests == ()


def test_the_version_is_that_of_the_package(vocalsep_emulator: Emulator) -> None:
    shown = call(vocalsep_emulator, "--version")
    assert (shown.exit_code, shown.stdout) == (0, f"{__version__}\n")


@pytest.mark.parametrize(
    "words",
    [
        ("nonesuch",),
        ("--nonesuch",),
        ("get",),
        ("get", "a", "b"),
        ("wait",),
        ("wait", "a", "--timeout", "-1"),
        ("wait", "a", "--timeout", "soon"),
        ("wait", "a", "--type", "karaoke"),
        ("track", "a", "--nonesuch"),
        ("download", "a"),
        ("--key-file",),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_code_2_without_a_request(
    vocalsep_emulator: Emulator, words: tuple[str, ...]
) -> None:
    result = call(vocalsep_emulator, *words)
    assert isinstance(result.exception, SystemExit)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Traceback" not in result.stderr
    assert vocalsep_emulator.requests == ()


# Streams


def test_an_id_that_the_locale_cannot_encode_is_escaped(vocalsep_emulator: Emulator) -> None:
    task_id = vocalsep_emulator.add_task("müll-𝄞", duration=0)
    environ = {
        "VOCALSEP_API_KEY": "a-key-for-tests",
        "VOCALSEP_BASE_URL": vocalsep_emulator.url,
        "PYTHONIOENCODING": "ascii:strict",
    }
    shown = run("track", task_id, "two words", environ=environ)
    assert (shown.returncode, shown.stdout) == (2, "")
    shown = run("track", task_id, environ=environ)
    assert (shown.returncode, shown.stdout.split()[0]) == (0, "m\\xfcll-\\U0001d11e")


def test_replaced_standard_streams_are_unchanged(
    vocalsep_emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vocalsep_async.cli.commands import _root
    from vocalsep_async.cli.options import Settings

    class Context:
        obj: object = None

    context: Any = Context()
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    _root(context, key_file=None, quiet=True, debug=False)
    assert context.obj == Settings(None, quiet=True, debug=False)


# Unusable files and folders


@pytest.mark.parametrize("command", ["track", "download"])
@pytest.mark.parametrize("below", [(), ("a",), ("a", "b")])
def test_a_file_in_the_path_of_the_stems_is_refused_before_any_request(
    vocalsep_emulator: Emulator, tmp_path: Path, command: str, below: tuple[str, ...]
) -> None:
    file = tmp_path / "file"
    file.touch()
    place = file.joinpath(*below)
    assert_error(call(vocalsep_emulator, command, "an-id", "--to", place), f"{place}: ")
    assert vocalsep_emulator.requests == ()


@pytest.mark.parametrize("command", ["track", "download"])
def test_an_unwritable_report_is_refused_before_any_request(
    vocalsep_emulator: Emulator, tmp_path: Path, command: str
) -> None:
    (tmp_path / "file").touch()
    for place, hint in (
        (tmp_path / "file" / "report.html", "Not a directory"),
        (tmp_path / "file" / "a" / "report.html", "Not a directory"),
        (tmp_path, "Is a directory"),
    ):
        words = (command, "an-id", "--to", tmp_path / "stems", "--report", place)
        result = call(vocalsep_emulator, *words)
        assert (result.exit_code, result.stdout) == (2, "")
        assert str(tmp_path) in result.stderr
        assert len(result.stderr.splitlines()) == 1, hint
    assert vocalsep_emulator.requests == ()


@pytest.mark.parametrize("words", [("track", "a"), ("track",)])
def test_a_file_that_is_no_journal_is_refused_and_unchanged(
    vocalsep_emulator: Emulator, tmp_path: Path, words: tuple[str, ...]
) -> None:
    file = tmp_path / "shopping.txt"
    file.write_text("eggs, milk and a pound of butter" * 100)
    assert_error(call(vocalsep_emulator, *words, "--journal", file), str(file))
    assert file.read_text().startswith("eggs")
    assert vocalsep_emulator.requests == ()


# Packages that are not installed


def hide(monkeypatch: pytest.MonkeyPatch, package: str, importing: str) -> None:
    """Make the import of a module fail as if *package* were not installed."""
    there = builtins.__import__

    def without(name: str, *arguments: Any, **options: Any) -> Any:
        if name == importing:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
        return there(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)


@pytest.mark.parametrize("package", ["rich", "typer"])
def test_missing_packages_are_reported_with_the_extra_to_install(
    monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    hide(monkeypatch, package, "vocalsep_async.cli")
    with pytest.raises(SystemExit, match=r'pip install "vocalsep-async\[cli\]"'):
        command_line.main()


def test_another_missing_module_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "aiohttp", "vocalsep_async.cli")
    with pytest.raises(ModuleNotFoundError):
        command_line.main()


@pytest.mark.parametrize("package", ["jinja2", "miniaudio"])
def test_a_report_without_its_packages_is_refused_before_any_request(
    vocalsep_emulator: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, package: str
) -> None:
    hide(monkeypatch, package, "vocalsep_async.cli.recording")
    page = tmp_path / "report.html"
    result = call(vocalsep_emulator, "track", "an-id", "--report", page)
    assert_error(result, f"needs the package {package}", 'pip install "vocalsep-async[cli]"')
    assert vocalsep_emulator.requests == ()
    assert not page.exists()


WITHOUT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"jinja2", "markupsafe", "miniaudio"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
from vocalsep_async.__main__ import main
main()
"""


def test_the_packages_of_a_report_are_needed_only_for_a_report(
    vocalsep_emulator: Emulator, tmp_path: Path
) -> None:
    task_id = vocalsep_emulator.add_task(duration=0)
    environ = {
        **os.environ,
        "VOCALSEP_API_KEY": "a-key-for-tests",
        "VOCALSEP_BASE_URL": vocalsep_emulator.url,
    }
    script = tmp_path / "without.py"
    script.write_text(WITHOUT)
    command = [sys.executable, str(script), "track", task_id]
    shown = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert (shown.returncode, shown.stdout.split()[0]) == (0, task_id)
    command += ["--report", str(tmp_path / "report.html")]
    shown = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert (shown.returncode, shown.stdout) == (2, "")
    assert 'pip install "vocalsep-async[cli]"' in shown.stderr
    assert len(shown.stderr.splitlines()) == 1
