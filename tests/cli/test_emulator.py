"""The emulator as a command."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from typing import Any

import pytest
from cli.in_process import call
from cli.subprocesses import started, vocalsep

from vocalsep_async.emulator import Emulator


def test_the_emulator_has_its_own_help(
    vocalsep_emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    result = call(vocalsep_emulator, "emulator", "--help")
    shown = result.stdout + capsys.readouterr().out
    assert result.exit_code == 0
    assert "usage: vocalsep emulator" in shown
    assert "--failure-rate" in shown
    options = re.split(r"\n  --", shown)[1:]
    without_default = [each for each in options if "default: " not in " ".join(each.split())]
    assert without_default == []


@pytest.mark.parametrize("words", [("--port", "x"), ("--speed", "0"), ("stray",), ("--nonesuch",)])
def test_invalid_options_of_the_emulator_are_exit_code_2(
    vocalsep_emulator: Emulator, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    result = call(vocalsep_emulator, "emulator", *words)
    assert isinstance(result.exception, SystemExit)
    assert result.exit_code == 2
    assert "vocalsep emulator: error: " in result.stderr + capsys.readouterr().err


def test_an_occupied_port_is_exit_code_1(vocalsep_emulator: Emulator) -> None:
    port = vocalsep_emulator.url.rpartition(":")[2]
    result = call(vocalsep_emulator, "emulator", "--port", port)
    assert result.exit_code == 1
    assert f"cannot listen on port {port}" in result.stderr


@pytest.mark.anyio
async def test_the_emulator_serves_other_commands_until_ctrl_c() -> None:
    options: dict[str, Any] = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "vocalsep_async", "emulator", "--credits", "70", "--speed", "1000"),
        **options,
    )
    assert process.stdout is not None
    async with asyncio.timeout(60):
        greeting = (await process.stdout.readline()).decode()
    url = greeting.split()[2].rstrip(",")
    environ = {"VOCALSEP_BASE_URL": url, "VOCALSEP_API_KEY": "any-key"}
    unused = Emulator()
    async with unused:
        credits_left = await vocalsep(unused, "credits", environ=environ)
        words = ("create", "--audio-url", "https://example.com/song.mp3")
        create = await started(
            unused, *words, "--callback-url", "https://example.com/hook", environ=environ
        )
        out, _ = await create.communicate()
        waited = await vocalsep(unused, "wait", out.decode().strip(), environ=environ)
        assert unused.requests == ()
    assert (credits_left.status, credits_left.out) == (0, ["70"])
    assert (waited.status, len(waited.out)) == (0, 1)
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(60):
        _, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
