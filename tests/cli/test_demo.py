"""The command line, run as users run it."""

import builtins
import re
import subprocess
import sys
from typing import Any

import pytest

import vocalsep_async.__main__ as command_line


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vocalsep_async", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_demo_waits_for_a_dozen_tasks_of_both_types_without_a_refusal() -> None:
    shown = run("demo")
    assert (shown.returncode, shown.stderr) == (0, "")
    rows = re.findall(r"^\w{8}… +(separate_vocal|split_stem) +(\w+) ", shown.stdout, re.MULTILINE)
    assert len(rows) == 12
    assert {kind for kind, _ in rows} == {"separate_vocal", "split_stem"}
    assert {status for _, status in rows} == {"SUCCESS", "GENERATE_AUDIO_FAILED"}
    assert re.search(r"12 tasks, \d+ requests, 0 refused; .* \d+\.\d s after", shown.stdout)


def test_without_a_command_it_says_what_there_is() -> None:
    assert "demo" in run().stdout


def test_without_its_packages_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "typer")
    with pytest.raises(SystemExit, match=r'pip install "vocalsep-async\[cli\]"'):
        command_line.main()


def test_another_missing_module_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "aiohttp")
    with pytest.raises(ModuleNotFoundError):
        command_line.main()


def hide(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    """Have the command line's import fail as if *package* were not installed."""
    there = builtins.__import__

    def without(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "vocalsep_async.cli":
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
        return there(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
