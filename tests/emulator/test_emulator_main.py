"""The emulator as a command."""

from __future__ import annotations

import asyncio
import runpy
import signal
import socket
import subprocess
import sys
from types import CoroutineType
from typing import Any, NoReturn

import anyio
import pytest
from anyio.lowlevel import checkpoint

from vocalsep_async.emulator import CallbackFaults, Emulator, __main__
from vocalsep_async.emulator.__main__ import main, serve

_MODULE = "vocalsep_async.emulator"


@pytest.fixture
def created(monkeypatch: pytest.MonkeyPatch) -> list[Emulator]:
    """Collect the emulators that would run, and press Ctrl-C immediately."""
    emulators: list[Emulator] = []

    def run(coroutine: CoroutineType[Any, Any, None]) -> NoReturn:
        assert coroutine.cr_frame is not None
        emulators.append(coroutine.cr_frame.f_locals["emulator"])
        coroutine.close()
        raise KeyboardInterrupt

    monkeypatch.setattr(asyncio, "run", run)
    return emulators


def test_options_reach_the_emulator(created: list[Emulator]) -> None:
    line = "--provider kie_jobs --speed 10 --seed 1 --rate-limit 5/2.5 --throttle-code 430"
    assert main([*line.split(), "--count-throttled", "--cors"]) == 0
    [emulator] = created
    assert (emulator.provider, emulator.speed, emulator.seed) == ("kie_jobs", 10.0, 1)
    assert (emulator.rate_limit, emulator.effective_throttle_code) == ((5, 2.5), 430)
    assert emulator.count_throttled
    assert emulator.cors


def test_the_faults_of_callbacks_are_one_option(created: list[Emulator]) -> None:
    faults = "lost=0.5,delay=1-3,clock_skew=-360,stale=1"
    assert main(["--callbacks", faults, "--webhook-key", "k"]) == 0
    assert main(["--callbacks", "delay=2"]) == 0
    assert created[0].callbacks == CallbackFaults(
        lost=0.5, delay=(1.0, 3.0), clock_skew=-360.0, stale=1.0
    )
    assert created[1].callbacks == CallbackFaults(delay=(2.0, 2.0))


def test_without_options_the_defaults_apply(created: list[Emulator]) -> None:
    assert main([]) == 0
    assert created[0].rate_limit == Emulator().rate_limit


def test_the_rate_limit_can_be_switched_off(created: list[Emulator]) -> None:
    main(["--rate-limit", "none"])
    assert created[0].rate_limit is None


@pytest.mark.parametrize(
    "line, message",
    [
        ("--rate-limit often", "invalid rate limit value: 'often'"),
        ("--speed 0", "speed must be a finite number above 0"),
        ("--throttle-code 418", "throttle_code must be one of"),
        ("--callbacks lots=1", "there is no 'lots', only changed, clock_skew, delay, in_progress"),
        ("--callbacks lost", "lost needs a number, as in lost=0.5, not ''"),
        ("--callbacks delay=1-x", "delay needs a number, as in delay=1-3, not '1-x'"),
        ("--callbacks lost=2", "argument --callbacks: lost must be at most 1, not 2.0"),
        ("--callbacks stale=1", "stale callbacks need a webhook_key"),
    ],
)
def test_invalid_options_exit_with_status_2(
    capsys: pytest.CaptureFixture[str], line: str, message: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(line.split())
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_a_port_in_use_exits_with_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert main(["--port", str(port)]) == 1
    assert f"cannot listen on port {port}" in capsys.readouterr().err


def test_the_module_runs_main(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [_MODULE, "--port", "-1"])
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(__main__.__file__, run_name="__main__")
    assert caught.value.code == 2


@pytest.mark.anyio
async def test_the_command_prints_its_address_and_a_request_to_try(
    capsys: pytest.CaptureFixture[str],
) -> None:
    emulator = Emulator(api_key="k")
    output = ""
    async with anyio.create_task_group() as group:
        group.start_soon(serve, emulator)
        while not output:
            await checkpoint()
            output = capsys.readouterr().out
        group.cancel_scope.cancel()
    assert f"listening on {emulator.url}" in output
    assert "curl -H 'Authorization: Bearer k'" in output


def test_ctrl_c_stops_the_command_without_a_traceback() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", _MODULE],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert "listening on http://127.0.0.1:" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
