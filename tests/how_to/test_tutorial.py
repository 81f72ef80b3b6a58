"""A newcomer who copies each block of the tutorial sees what the tutorial shows."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pages import ROOT, commands_of, save_files, text_of

pytestmark = pytest.mark.skipif(shutil.which("sh") is None, reason="the commands are for a shell")

PAGE = "docs/tutorial.md"
NOT_RUN = {
    "bin/activate": "the tests run where everything is installed",
    "pip install": "the same",
    "vocalsep emulator": "the test starts it itself, with the same options",
    "export VOCALSEP_": "the test sets the address of that emulator",
    "unset VOCALSEP_": "nothing follows, and no account is there",
}
"""Lines that are not run, by what they hold, and why."""
NUMBERED = re.compile(r"[0-9a-f]{32}|…|\d[\d:., -]*\d|\d")
SECONDS = 300
PYTHON = Path(sys.executable).parent


def run_lines(commands: str) -> str:
    """The commands that are run, of those of one block."""
    lines = commands.splitlines()
    return "\n".join(line for line in lines if not any(part in line for part in NOT_RUN))


def without_numbers(output: str) -> list[str]:
    return [NUMBERED.sub("#", line) for line in output.splitlines()]


@contextmanager
def emulator() -> Iterator[str]:
    """The emulator as the page starts it, on a free port."""
    (line,) = re.findall(r"^vocalsep (emulator .*)$", text_of(PAGE), re.MULTILINE)
    options = shlex.split(line.replace("--port 8080", "--port 0"))
    command = [sys.executable, "-m", "vocalsep_async", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            (url,) = re.findall(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
            yield url
        finally:
            process.terminate()


def shown_by(commands: str, folder: Path, url: str) -> str:
    environ = {
        **os.environ,
        "PATH": f"{PYTHON}{os.pathsep}{os.environ['PATH']}",
        "PYTHONUNBUFFERED": "1",
        # In the environment of the page, pytest knows no options of further plugins.
        "PYTEST_ADDOPTS": "-p no:timeout -p no:xdist -p no:asyncio",
        "COLUMNS": "80",
        "VOCALSEP_API_KEY": "any-key",
        "VOCALSEP_BASE_URL": url,
        "VOCALSEP_UPLOAD_URL": url,
    }
    run = subprocess.run(
        ["sh", "-ec", commands],
        cwd=folder,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert run.returncode == 0, run.stdout
    return run.stdout


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What pytest would find of a clone of this repository."""
    clone = tmp_path / "clone"
    (clone / "tests").mkdir(parents=True)
    shutil.copy(ROOT / "pyproject.toml", clone)
    return clone


def test_the_tutorial_shows_what_its_commands_print(clone: Path) -> None:
    install, *commands = [
        each._replace(commands=lines)
        for each in commands_of(PAGE)
        if (lines := run_lines(each.commands))
    ]
    assert len(commands) == 7
    with emulator() as url:
        folder = Path(shown_by(f"{install.commands}\npwd", clone, url).strip())
        save_files(PAGE, folder)
        for each in commands:
            printed = shown_by(each.commands, folder, url)
            if each.output is None:
                continue
            # Which of several songs ends first, or fails, depends on the machine.
            is_any_order = "many.py" in each.commands
            shown, expected = without_numbers(printed), without_numbers(each.output)
            if is_any_order:
                shown, expected = (sorted(map(without_title, each)) for each in (shown, expected))
            assert shown == expected, printed
    assert (folder / "stems" / "tides" / "vocal.wav").is_file()


def without_title(line: str) -> str:
    return line.partition(" ")[2]
