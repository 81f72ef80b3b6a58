"""Errors of usage: safe to print, without logins, and with the place of a global option."""

from __future__ import annotations

from itertools import pairwise

import pytest
from cli.in_process import call

from vocalsep_async.cli.usage import _completed
from vocalsep_async.emulator import Emulator

PASSWORD = "CANARY-5e1f"


def message(emulator: Emulator, *words: str) -> str:
    result = call(emulator, *words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert emulator.requests == ()
    return " ".join(result.stderr.split())


@pytest.mark.parametrize(
    "words",
    [
        ("--a{}",),
        ("cmd{}",),
        ("get", "a", "b{}"),
        ("get", "--a{}"),
        ("wait", "a", "--type", "{}"),
        ("wait", "a", "--timeout", "{}"),
        ("journal", "x{}"),
        ("journal", "show", "--y{}"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize(
    "mark",
    ["\x1b[31m", "\x1b]52;c;eA==\x07", "\u202e", "\u2066", "\x9b31m", "\u200b"],
    ids=ascii,
)
def test_words_of_the_command_line_are_shown_without_what_a_terminal_acts_on(
    vocalsep_emulator: Emulator, words: tuple[str, ...], mark: str
) -> None:
    shown = message(vocalsep_emulator, *(word.format(mark) for word in words))
    assert shown.isprintable()


@pytest.mark.parametrize(
    "words, name",
    [
        (("get", "a", "--proxy", "http://p"), "--proxy"),
        (("get", "a", "--proxy=http://p"), "--proxy"),
        (("track", "a", "-q"), "-q"),
        (("download", "a", "--to", "b", "--key-file", "c"), "--key-file"),
        (("credits", "--allow-private-hosts"), "--allow-private-hosts"),
    ],
)
def test_a_global_option_behind_its_command_is_told_where_it_belongs(
    vocalsep_emulator: Emulator, words: tuple[str, ...], name: str
) -> None:
    shown = message(vocalsep_emulator, *words)
    assert "No such option" in shown
    assert f"; it belongs before the command: root {name} …" in shown


def test_another_unknown_option_is_not(vocalsep_emulator: Emulator) -> None:
    assert "belongs before" not in message(vocalsep_emulator, "get", "a", "--nonesuch")
    assert "belongs before" not in message(vocalsep_emulator, "--nonesuch", "get")


def test_a_login_is_not_repeated(vocalsep_emulator: Emulator) -> None:
    shown = message(vocalsep_emulator, "get", "a", f"http://user:{PASSWORD}@proxy.example")
    assert "http://…@proxy.example" in shown
    assert PASSWORD not in shown


@pytest.mark.parametrize(
    "words, completed",
    [
        (["--allow-private-hosts", "get", "a"], ["--allow-private-hosts=all", "get", "a"]),
        (["--allow-private-hosts"], ["--allow-private-hosts=all"]),
        (["--allow-private-hosts", "-q", "get"], ["--allow-private-hosts=all", "-q", "get"]),
        (["--allow-private-hosts", "10.0.0.1", "get"],) * 2,
        (["--allow-private-hosts=10.0.0.1", "get"],) * 2,
        (["get", "a"],) * 2,
        ([],) * 2,
    ],
)
def test_the_option_for_private_hosts_may_have_no_value(
    words: list[str], completed: list[str]
) -> None:
    assert _completed(words, {"get", "track"}) == completed


@pytest.mark.parametrize("columns", ["0", "00", ""])
def test_a_terminal_of_no_width_gets_all_output(vocalsep_emulator: Emulator, columns: str) -> None:
    environ: dict[str, str | None] = {"COLUMNS": columns}
    assert "Missing argument" in call(vocalsep_emulator, "get", environ=environ).stderr
    assert "--timeout" in call(vocalsep_emulator, "wait", "--help", environ=environ).stdout
    task_id = vocalsep_emulator.add_task(duration=0)
    result = call(vocalsep_emulator, "track", task_id, environ=environ)
    assert "1 task: 1 succeeded" in result.stderr


@pytest.mark.parametrize("columns", [60, 80, 120])
@pytest.mark.parametrize("words", [(), ("track",), ("create",)], ids=str)
def test_the_paragraphs_of_the_help_fill_the_width_of_the_terminal(
    vocalsep_emulator: Emulator, words: tuple[str, ...], columns: int
) -> None:
    shown = call(vocalsep_emulator, *words, "--help", environ={"COLUMNS": str(columns)}).stdout
    prose = [line.rstrip() for line in shown.partition("╭")[0].split("\n")]
    assert [line for line, after in pairwise(prose) if is_too_short(line, after, columns)] == []


def is_too_short(line: str, after: str, columns: int) -> bool:
    is_prose = line and after and not line.endswith((":", "\\")) and after[1] != " "
    # A column on each side is a margin.
    return bool(is_prose) and len(f"{line} {after.split(maxsplit=1)[0]}") < columns


COMMANDS = (
    *((), ("get",), ("wait",), ("track",), ("download",), ("create",), ("separate",)),
    *(("credits",), ("demo",), ("callbacks",)),
    *(("journal", "show"), ("journal", "check"), ("journal", "export")),
)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_the_help_shows_no_type_for_an_option_without_a_value(
    vocalsep_emulator: Emulator, words: tuple[str, ...]
) -> None:
    shown = call(vocalsep_emulator, *words, "--help").stdout
    # Those are Typer's own.
    others = ("--help", "--install-completion", "--show-completion")
    lines = [each for each in shown.splitlines() if not any(name in each for name in others)]
    assert "--help" in shown
    assert "bool" not in "".join(lines)
