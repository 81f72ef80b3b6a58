"""The manual, generated from the commands."""

from __future__ import annotations

import re
import subprocess
import sys

from vocalsep_async.cli.manual import manual

COMMANDS = (
    "get",
    "wait",
    "track",
    "download",
    "create",
    "separate",
    "credits",
    "demo",
    "emulator",
    "journal",
)


def test_the_manual_has_a_section_per_command() -> None:
    made = manual()
    assert made.startswith("# `vocalsep`\n")
    for command in COMMANDS:
        assert f"\n## `vocalsep {command}`\n" in made
    for command in ("show", "check", "export"):
        assert f"\n### `vocalsep journal {command}`\n" in made


def test_the_manual_lists_the_options_of_the_emulator() -> None:
    _, _, section = manual().partition("\n## `vocalsep emulator`\n")
    section = section.partition("\n## ")[0]
    help_text = subprocess.run(
        [sys.executable, "-m", "vocalsep_async", "emulator", "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    known = set(re.findall(r"^  (--[a-z-]+)", help_text, re.MULTILINE))
    assert set(re.findall(r"^\* `(--[a-z-]+)", section, re.MULTILINE)) == known
    assert (
        "* `--provider <sunoapi|kie|kie_jobs>`: Provider to emulate; default: sunoapi.\n" in section
    )
    assert "* `--cors`: Let pages in a browser call it; default: they cannot.\n" in section


def test_the_examples_of_the_manual_are_code_blocks() -> None:
    assert "Example:\n\n    vocalsep create " in manual()
    assert "Examples:\n\n    vocalsep track ID ID ID\n" in manual()


def test_the_manual_has_no_trailing_blanks() -> None:
    made = manual()
    assert all(line == line.rstrip() for line in made.splitlines())
    assert made.endswith("\n")
    assert not made.endswith("\n\n")


def test_the_module_prints_the_manual() -> None:
    command = [sys.executable, "-m", "vocalsep_async.cli.manual"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == manual()
