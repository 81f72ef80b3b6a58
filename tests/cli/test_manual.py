"""The manual is made from the commands."""

from __future__ import annotations

import subprocess
import sys

from vocalsep_async.cli.manual import manual

COMMANDS = ("get", "wait", "track", "download", "create", "credits", "demo", "emulator", "journal")


def test_every_command_has_its_place() -> None:
    made = manual()
    assert made.startswith("# `vocalsep`\n")
    for command in COMMANDS:
        assert f"\n## `vocalsep {command}`\n" in made
    for command in ("show", "check", "export"):
        assert f"\n### `vocalsep journal {command}`\n" in made


def test_examples_are_code() -> None:
    assert "Example:\n\n    vocalsep create " in manual()
    assert "Examples:\n\n    vocalsep track ID ID ID\n" in manual()


def test_it_is_clean_text() -> None:
    made = manual()
    assert all(line == line.rstrip() for line in made.splitlines())
    assert made.endswith("\n")
    assert not made.endswith("\n\n")


def test_running_the_module_prints_it() -> None:
    command = [sys.executable, "-m", "vocalsep_async.cli.manual"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == manual()
