"""The pytest fixture, in test runs of its own."""

import subprocess
import sys
from collections.abc import Callable
from typing import TypeAlias

import pytest

Run: TypeAlias = Callable[[str], pytest.RunResult]

# Loaded by name and not by its entry point, which is absent where the package is not installed.
PLUGIN = ("-p", "no:vocalsep_async", "-p", "vocalsep_async.pytest_plugin", "-p", "no:cacheprovider")
IMPORTS = """
    import json
    import urllib.request
    import aiohttp
    import pytest

    def code(emulator):
        request = urllib.request.Request(
            emulator.url + "/api/v1/generate/credit", headers={"Authorization": "Bearer k"}
        )
        with urllib.request.urlopen(request) as reply:
            return json.load(reply)["code"]
"""


@pytest.fixture
def run(pytester: pytest.Pytester) -> Run:
    def run(source: str) -> pytest.RunResult:
        pytester.makepyfile(IMPORTS + source)
        return pytester.runpytest_inprocess(*PLUGIN)

    return run


def test_a_sync_test_gets_a_running_emulator(run: Run) -> None:
    source = """
    def test_sync(vocalsep_emulator):
        assert code(vocalsep_emulator) == 200
        assert len(vocalsep_emulator.requests) == 1
    """
    run(source).assert_outcomes(passed=1)


def test_an_async_test_gets_a_running_emulator(run: Run) -> None:
    source = """
    @pytest.mark.anyio
    @pytest.mark.parametrize("anyio_backend", ["asyncio"])
    async def test_async(vocalsep_emulator):
        task_id = vocalsep_emulator.add_task(duration=0)
        url = vocalsep_emulator.url + "/api/v1/vocal-removal/record-info"
        async with aiohttp.ClientSession(headers={"Authorization": "Bearer k"}) as session:
            async with session.get(url, params={"taskId": task_id}) as reply:
                assert (await reply.json())["data"]["successFlag"] == "SUCCESS"
    """
    run(source).assert_outcomes(passed=1)


def test_a_fixture_of_the_user_sets_the_options(run: Run) -> None:
    source = """
    @pytest.fixture
    def vocalsep_emulator_options():
        return {"api_key": "another"}

    def test_options(vocalsep_emulator):
        assert code(vocalsep_emulator) == 401
    """
    run(source).assert_outcomes(passed=1)


def test_invalid_options_are_an_error_of_the_test(run: Run) -> None:
    source = """
    @pytest.fixture
    def vocalsep_emulator_options():
        return {"speed": 0}

    def test_options(vocalsep_emulator):
        pass
    """
    run(source).assert_outcomes(errors=1)


def test_loading_the_plugin_does_not_load_the_emulator() -> None:
    program = (
        "import sys, vocalsep_async.pytest_plugin; "
        "sys.exit('vocalsep_async.emulator' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
