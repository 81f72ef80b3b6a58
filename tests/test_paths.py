"""Paths that fall silent and forget, between two network namespaces: the kernel's own TCP."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).with_name("network_program.py")
ENVIRON = os.environ | {"PYTHONPATH": str(PROGRAM.parent)}
"""So that the program can import what is beside it, also where Python leaves its folder out."""
PATIENCE = 120.0


def seen_in(scenario: str) -> dict[str, Any]:
    """What the program says; the test is skipped where it cannot run."""
    unshare = shutil.which("unshare")
    if unshare is None or shutil.which("ip") is None:
        pytest.skip("needs Linux, with unshare and ip")
    command = [unshare, "--map-root-user", "--net", sys.executable, str(PROGRAM), scenario]
    done = subprocess.run(
        command, env=ENVIRON, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    # Where user namespaces are not allowed, the program does not begin.
    if not done.stdout and "unshare:" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    if "impossible" in said:
        pytest.skip(said["impossible"])
    return said


def test_what_was_given_up_while_a_link_was_silent_does_not_arrive_when_it_returns() -> None:
    said = seen_in("silence")
    assert said["given_up"] == ["POST"] * 3 + ["given-up"] * 3
    assert said["arrived"] == ["after"]
    # The error of a billed request that timed out promises the same.
    assert not any("may still arrive" in note for note in said["notes"])
    assert any("may have been created" in note for note in said["notes"])


def test_a_connection_that_the_path_forgot_is_found_dead_long_before_the_request_timeout() -> None:
    said = seen_in("forgetting")
    (retried,) = said["retried"]
    assert "the path is dead: nothing was acknowledged for 8 s" in retried
    # A server that takes longer to answer than a dead path has is not given up.
    assert said["succeeded"] == [True, True]
    assert said["slow"] == 1
    # A receiver, which sends nothing, notices it as well.
    assert "the path is dead" in said["file"]
