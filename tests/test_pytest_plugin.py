"""The pytest fixtures, in test runs of their own."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import TypeAlias

import pytest

Run: TypeAlias = Callable[..., pytest.RunResult]

# Loaded by name and not by its entry point, which is absent where the package is not installed.
PLUGIN = (
    *("-p", "no:vocalsep_async", "-p", "vocalsep_async.pytest_plugin", "-p", "no:cacheprovider"),
    # What a test leaves open is a ResourceWarning.
    *("-W", "error"),
)
WITHOUT_ASYNCIO = ("-p", "no:asyncio")
WITH_ASYNCIO = ("-o", "asyncio_default_fixture_loop_scope=function")
IMPORTS = """
    import asyncio
    import json
    import threading
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
    def run(source: str, options: Sequence[str] = WITHOUT_ASYNCIO) -> pytest.RunResult:
        pytester.makepyfile(IMPORTS + source)
        return pytester.runpytest_inprocess(*PLUGIN, *options)

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


def test_tasks_of_the_fixture_take_no_time_and_are_not_throttled(run: Run) -> None:
    source = """
    def test_defaults(vocalsep_emulator):
        assert (vocalsep_emulator.speed, vocalsep_emulator.rate_limit) == (1000, None)
    """
    run(source).assert_outcomes(passed=1)


# A client

WAIT = """
    async def a_task_succeeds(emulator, client):
        created = await client.create_task(
            audio_url="https://example.com/a.mp3", callback_url="https://example.com/"
        )
        assert (await client.wait_for_task(created)).succeeded
        assert len(emulator.requests) > 1
"""


def test_a_sync_test_gets_a_client_for_each_of_its_runs(run: Run) -> None:
    source = """
    def test_sync(vocalsep_emulator, vocalsep_client):
        for _ in range(2):
            asyncio.run(a_task_succeeds(vocalsep_emulator, vocalsep_client))
    """
    run(WAIT + source).assert_outcomes(passed=1)


@pytest.mark.parametrize("scope", ["function", "session"])
def test_an_async_test_under_anyio_gets_a_client(run: Run, scope: str) -> None:
    source = f"""
    @pytest.fixture(scope="{scope}")
    def anyio_backend():
        return "asyncio"

    @pytest.fixture(scope="{scope}", autouse=True)
    async def keeps_the_loop(anyio_backend):
        yield

    @pytest.mark.anyio
    @pytest.mark.parametrize("n", [1, 2])
    async def test_async(vocalsep_emulator, vocalsep_client, n):
        await a_task_succeeds(vocalsep_emulator, vocalsep_client)

    @pytest.mark.anyio
    async def test_closed(vocalsep_emulator, vocalsep_client):
        async with vocalsep_client:
            await a_task_succeeds(vocalsep_emulator, vocalsep_client)

    @pytest.fixture
    async def task_id(vocalsep_emulator, vocalsep_client):
        await a_task_succeeds(vocalsep_emulator, vocalsep_client)
        return vocalsep_emulator.tasks[0]

    @pytest.mark.anyio
    async def test_after_a_fixture(vocalsep_client, task_id):
        assert (await vocalsep_client.get_task(task_id)).succeeded
    """
    run(WAIT + source).assert_outcomes(passed=4)


@pytest.mark.parametrize("scope", ["function", "session"])
def test_an_async_test_under_pytest_asyncio_gets_a_client(run: Run, scope: str) -> None:
    pytest.importorskip("pytest_asyncio")
    source = f"""
    import pytest_asyncio

    @pytest.mark.asyncio(loop_scope="{scope}")
    @pytest.mark.parametrize("n", [1, 2])
    async def test_async(vocalsep_emulator, vocalsep_client, n):
        await a_task_succeeds(vocalsep_emulator, vocalsep_client)

    @pytest_asyncio.fixture(loop_scope="{scope}")
    async def task_id(vocalsep_emulator, vocalsep_client):
        await a_task_succeeds(vocalsep_emulator, vocalsep_client)
        return vocalsep_emulator.tasks[0]

    @pytest.mark.asyncio(loop_scope="{scope}")
    async def test_after_a_fixture(vocalsep_client, task_id):
        assert (await vocalsep_client.get_task(task_id)).succeeded
    """
    run(WAIT + source, WITH_ASYNCIO).assert_outcomes(passed=3)


def test_a_client_used_in_a_thread_with_a_loop_is_closed_there(run: Run) -> None:
    source = """
    @pytest.fixture
    def loop():
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        yield loop
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    def test_thread(loop, vocalsep_emulator, vocalsep_client):
        work = a_task_succeeds(vocalsep_emulator, vocalsep_client)
        asyncio.run_coroutine_threadsafe(work, loop).result()

    def test_unused(vocalsep_client):
        pass
    """
    run(WAIT + source).assert_outcomes(passed=2)


def test_a_fixture_of_the_user_sets_the_options_of_the_client(run: Run) -> None:
    source = """
    @pytest.fixture
    def vocalsep_client_options():
        return {"user_agent": "my-program/1.0", "rate_limit": None}

    def test_options(vocalsep_client):
        assert "FastLimiter" not in repr(vocalsep_client)
    """
    run(source).assert_outcomes(passed=1)


def test_a_wait_that_a_test_leaves_behind_ends_with_the_client(run: Run) -> None:
    source = """
    @pytest.fixture
    def runner():
        with asyncio.Runner() as runner:
            yield runner

    def test_leaves(runner, vocalsep_emulator, vocalsep_client):
        async def begin():
            task_id = vocalsep_emulator.add_task(duration=1000)
            left.append(asyncio.create_task(vocalsep_client.wait_for_task(task_id)))
            await asyncio.sleep(0)

        runner.run(begin())

    left = []

    def test_ended():
        assert type(left[0].exception()).__name__ == "ClientClosedError"
    """
    run(source).assert_outcomes(passed=2)


def test_loading_the_plugin_does_not_load_the_emulator() -> None:
    program = (
        "import sys, vocalsep_async.pytest_plugin; "
        "sys.exit('vocalsep_async.emulator' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
