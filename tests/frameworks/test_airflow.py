"""The operator and the trigger for Airflow, against the emulator.

Most tests call them as Airflow does, with a state store in memory. Those at the end run the DAG of
the page with Airflow's own database and API, and kill its processes.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from asyncio.events import Handle
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
from pages import files_of, save_files
from stores import MISSING, StoreServer, server_program

from vocalsep_async import (
    ConfigurationError,
    InsufficientCreditsError,
    InvalidArgumentError,
    SeparationTask,
    TaskStatus,
    VocalSepClient,
)
from vocalsep_async.emulator import Emulator, Fault
from vocalsep_async.instrumentation import CreationIntended, CreationSent, Event

if find_spec("airflow") is None:
    pytest.skip(
        "Airflow is not installed; the nox session frameworks has it", allow_module_level=True
    )

# ruff: noqa: E402 - Airflow writes its settings there when it is imported.
HOME = Path(tempfile.mkdtemp(prefix="airflow-"))
SETTINGS = {"AIRFLOW__CORE__LOAD_EXAMPLES": "False", "AIRFLOW__CORE__UNIT_TEST_MODE": "False"}
os.environ.update(SETTINGS, AIRFLOW_HOME=str(HOME))

from airflow.sdk import DAG, NEVER_EXPIRE
from airflow.sdk.exceptions import AirflowException, AirflowFailException, TaskDeferred
from airflow.sdk.module_loading import import_string

from vocalsep_async.contrib import airflow as contrib
from vocalsep_async.contrib.airflow import SeparateSongOperator, SeparationTrigger, VocalSepHook

PAGE = "docs/how-to/airflow.md"
KEY = "a-secret-key"
SONG = "https://example.com/song.mp3"
LONGEST_CALLBACK = 0.1
"""Seconds of processor time; Airflow's triggerer warns of callbacks that take longer."""


class Store(dict[str, Any]):
    """The state store of a task instance; it keeps JSON, and what was written when.

    Attributes:
        written: all values, in order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.written: list[Any] = []

    def set(self, key: str, value: Any, *, retention: object) -> None:
        assert retention is NEVER_EXPIRE
        self.written.append(value)
        self[key] = json.loads(json.dumps(value))

    def delete(self, key: str) -> None:
        del self[key]


@pytest.fixture(scope="session", autouse=True)
def _without_a_home() -> Iterator[None]:
    yield
    shutil.rmtree(HOME)


def connection(url: str, **more: Any) -> str:
    return json.dumps({"conn_type": "vocalsep", "password": KEY, "host": url, **more})


@pytest.fixture(autouse=True)
def _connection(vocalsep_emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_VOCALSEP_DEFAULT", connection(vocalsep_emulator.url))


@pytest.fixture
def vocalsep_emulator_options() -> dict[str, Any]:
    return {"speed": 100, "api_key": KEY}


@pytest.fixture
def store() -> Store:
    return Store()


def separating(**more: Any) -> SeparateSongOperator:
    return SeparateSongOperator(task_id="separate", **{"audio_url": SONG, **more})


def deferred(operator: SeparateSongOperator, store: Store) -> TaskDeferred:
    with pytest.raises(TaskDeferred) as caught:
        operator.execute({"task_state_store": store})
    return caught.value


def travelled(trigger: SeparationTrigger) -> SeparationTrigger:
    """A trigger as it arrives in a triggerer."""
    path, arguments = json.loads(json.dumps(trigger.serialize()))
    made: SeparationTrigger = import_string(path)(**arguments)
    return made


async def event_of(trigger: SeparationTrigger) -> Any:
    (event,) = [each async for each in trigger.run()]
    return event


def payload_of(trigger: SeparationTrigger) -> Any:
    return json.loads(json.dumps(asyncio.run(event_of(travelled(trigger))).payload))


def creations(emulator: Emulator) -> int:
    return sum(each.method == "POST" for each in emulator.requests)


def finished(operator: SeparateSongOperator, store: Store) -> Any:
    waiting = deferred(operator, store)
    resume = getattr(operator, waiting.method_name)
    return resume({"task_state_store": store}, event=payload_of(waiting.trigger))


# A song on its way


def test_the_operator_saves_the_stems_of_a_song(
    store: Store, vocalsep_emulator: Emulator, tmp_path: Path
) -> None:
    result = finished(separating(download_to=str(tmp_path)), store)
    assert [result["task_id"]] == [*vocalsep_emulator.tasks]
    assert result["status"] == "SUCCESS"
    assert result["stems"] == ["instrumental", "vocal"]
    assert sorted(result["files"]) == result["stems"]
    assert all(Path(each).is_file() for each in result["files"].values())
    assert json.loads(json.dumps(result)) == result


def test_the_operator_can_leave_the_stems_where_they_are(store: Store) -> None:
    result = finished(separating(type="split_stem", timeout=None), store)
    assert len(result["stems"]) > 2
    assert result["files"] == {}


def test_the_operator_can_be_mapped_over_many_songs(store: Store) -> None:
    with DAG("many", schedule=None):
        mapped = SeparateSongOperator.partial(task_id="separate", type="split_stem").expand(
            audio_url=[SONG, f"{SONG}?second"]
        )
    result = finished(mapped.unmap({"audio_url": SONG}), store)
    assert len(result["stems"]) > 2


def test_the_operator_keeps_the_id_before_it_waits(
    store: Store, vocalsep_emulator: Emulator
) -> None:
    waiting = deferred(separating(), store)
    assert [store["vocalsep"]["task_id"]] == [*vocalsep_emulator.tasks]
    assert waiting.trigger.serialize()[1]["separation"] == store["vocalsep"]


def test_a_retry_waits_for_the_same_task(store: Store, vocalsep_emulator: Emulator) -> None:
    first, second = deferred(separating(), store), deferred(separating(), store)
    assert first.trigger.separation == second.trigger.separation
    assert creations(vocalsep_emulator) == 1


def test_the_operator_rejects_what_it_cannot_use_when_the_dag_is_read() -> None:
    with pytest.raises(InvalidArgumentError, match="separate_vocals"):
        separating(type="separate_vocals")
    with pytest.raises(InvalidArgumentError, match="timeout"):
        separating(timeout=-1)
    with pytest.raises(InvalidArgumentError, match="on_uncertain"):
        separating(on_uncertain="ignore")


# Creations that fail


def test_a_creation_that_was_refused_is_tried_again(
    store: Store, vocalsep_emulator: Emulator
) -> None:
    vocalsep_emulator.inject(Fault.NO_CREDITS)
    with pytest.raises(InsufficientCreditsError):
        separating().execute({"task_state_store": store})
    assert store == {}
    deferred(separating(), store)
    assert len(vocalsep_emulator.tasks) == 1


def test_a_song_that_is_named_twice_leaves_no_trace(store: Store) -> None:
    with pytest.raises(InvalidArgumentError, match="audio_url"):
        separating(source_task_id="music", audio_id="track").execute({"task_state_store": store})
    assert store == {}


def test_a_creation_without_an_answer_is_not_repeated(
    store: Store, vocalsep_emulator: Emulator
) -> None:
    vocalsep_emulator.inject(Fault.UNANSWERED)
    for _ in range(3):
        with pytest.raises(AirflowFailException, match="may have been created and billed"):
            separating().execute({"task_state_store": store})
    assert "closed the connection" in store["vocalsep"]["reason"]
    assert creations(vocalsep_emulator) == 1


def test_a_creation_without_an_answer_is_repeated_on_demand(
    store: Store, vocalsep_emulator: Emulator
) -> None:
    vocalsep_emulator.inject(Fault.UNANSWERED)
    with pytest.raises(AirflowFailException):
        separating().execute({"task_state_store": store})
    deferred(separating(on_uncertain="create"), store)
    assert len(vocalsep_emulator.tasks) == 2
    assert store["vocalsep"]["task_id"] == vocalsep_emulator.tasks[-1]


def interrupting(kind: type[Event]) -> Any:
    def on_event(event: Event) -> None:
        if isinstance(event, kind):
            raise KeyboardInterrupt

    def make(api_key: str, **options: Any) -> VocalSepClient:
        return VocalSepClient(api_key, on_event=on_event, **options)

    return make


def interrupted_before(kind: type[Event], store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contrib, "make_interrupting", interrupting(kind), raising=False)
    operator = separating(client_factory=f"{contrib.__name__}.make_interrupting")
    with pytest.raises(KeyboardInterrupt):
        operator.execute({"task_state_store": store})


def test_a_creation_that_was_interrupted_before_its_request_leaves_no_trace(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted_before(CreationIntended, store, monkeypatch)
    assert store.written != []
    assert store == {}


def test_a_creation_that_was_interrupted_at_its_request_is_not_repeated(
    store: Store, monkeypatch: pytest.MonkeyPatch, vocalsep_emulator: Emulator
) -> None:
    interrupted_before(CreationSent, store, monkeypatch)
    with pytest.raises(AirflowFailException, match="the program ended before the answer"):
        separating().execute({"task_state_store": store})
    assert len(vocalsep_emulator.tasks) <= 1


# Waits


def test_the_trigger_carries_ids_and_names_but_no_key(store: Store) -> None:
    path, arguments = deferred(separating(), store).trigger.serialize()
    assert path == "vocalsep_async.contrib.airflow.SeparationTrigger"
    assert set(arguments) == {"separation", "conn_id", "until", "client_factory"}
    assert set(arguments["separation"]) == {"task_id", "type", "created_at", "route"}
    assert KEY not in json.dumps(arguments)
    assert KEY not in repr(deferred(separating(), store).trigger)


def test_two_copies_of_a_trigger_yield_equal_events_for_the_polls_of_one(
    store: Store, vocalsep_emulator: Emulator
) -> None:
    trigger = deferred(separating(), store).trigger

    async def both() -> tuple[Any, Any]:
        copies = travelled(trigger), travelled(trigger)
        return tuple(await asyncio.gather(*map(event_of, copies)))

    first, second = asyncio.run(both())
    assert first == second
    assert json.loads(json.dumps(first.payload)) == first.payload
    polls = [each for each in vocalsep_emulator.requests if each.method == "GET"]
    assert payload_of(trigger) == first.payload
    assert len(polls) <= 4


def test_triggers_of_another_key_have_another_client(
    vocalsep_emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def clients() -> list[VocalSepClient]:
        found = [await VocalSepHook().shared_client() for _ in range(2)]
        other = connection(vocalsep_emulator.url, password="another-key")
        monkeypatch.setenv("AIRFLOW_CONN_VOCALSEP_DEFAULT", other)
        return [*found, await VocalSepHook().shared_client()]

    first, same, other = asyncio.run(clients())
    assert first is same
    assert first is not other


@pytest.mark.parametrize("vocalsep_emulator_options", [{"speed": 1, "api_key": KEY}])
def test_a_trigger_that_another_triggerer_takes_over_waits_for_the_same_task(
    store: Store, vocalsep_emulator: Emulator
) -> None:
    trigger = deferred(separating(), store).trigger

    async def cut() -> None:
        async with asyncio.timeout(0.2):
            await event_of(travelled(trigger))

    with pytest.raises(TimeoutError):
        asyncio.run(cut())
    vocalsep_emulator.finish(store["vocalsep"]["task_id"])
    assert payload_of(trigger) == {"separation": store["vocalsep"], "error": None}
    assert creations(vocalsep_emulator) == 1


@pytest.mark.parametrize("vocalsep_emulator_options", [{"speed": 1, "api_key": KEY}])
def test_a_wait_that_runs_out_of_time_is_repeated_by_a_retry(
    store: Store, vocalsep_emulator: Emulator
) -> None:
    operator = separating(timeout=0)
    waiting = deferred(operator, store)
    event = payload_of(waiting.trigger)
    assert event["error"] == "TaskTimeoutError"
    with pytest.raises(AirflowException, match="A retry waits for the same task") as caught:
        operator.execute_complete({}, event)
    assert not isinstance(caught.value, AirflowFailException)
    vocalsep_emulator.finish(store["vocalsep"]["task_id"])
    assert finished(separating(), store)["status"] == "SUCCESS"
    assert creations(vocalsep_emulator) == 1


def test_a_separation_that_failed_is_not_retried(store: Store, vocalsep_emulator: Emulator) -> None:
    operator = separating()
    waiting = deferred(operator, store)
    vocalsep_emulator.fail(store["vocalsep"]["task_id"], message="no voice in this song")
    with pytest.raises(AirflowFailException, match="no voice in this song"):
        operator.execute_complete({}, payload_of(waiting.trigger))


def test_a_success_whose_links_are_missing_is_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    async def get_task(*_: Any) -> SeparationTask:
        return SeparationTask(task_id="a-task", status=TaskStatus.SUCCESS)

    monkeypatch.setattr(VocalSepClient, "get_task", get_task)
    event = {"separation": {"task_id": "a-task"}, "error": None}
    with pytest.raises(AirflowException, match="no URL") as caught:
        separating().execute_complete({}, event)
    assert not isinstance(caught.value, AirflowFailException)


# The event loop of the triggerer


def test_no_callback_of_a_trigger_is_long(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    trigger = deferred(separating(), store).trigger
    run, spent = Handle._run, []

    def measured(self: Handle) -> None:
        # Of this thread: other programs of a busy machine do not count.
        began = time.thread_time()
        run(self)
        spent.append((time.thread_time() - began, repr(self)))

    monkeypatch.setattr(Handle, "_run", measured)
    asyncio.run(event_of(travelled(trigger)), debug=True)
    assert len(spent) > 10
    assert max(spent)[0] < LONGEST_CALLBACK, max(spent)


# Connections


def test_the_client_factory_of_the_page_shares_a_limit_in_redis(
    store: Store,
    vocalsep_emulator: Emulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    program = server_program()
    if program is None:
        pytest.skip(MISSING)
    from redis import Redis

    with StoreServer(program) as redis:
        text = files_of(PAGE)["songs_client.py"].replace("redis://localhost", redis.url)
        tmp_path.joinpath("songs_client.py").write_text(text, encoding="utf-8")
        monkeypatch.syspath_prepend(tmp_path)
        result = finished(separating(client_factory="songs_client.make"), store)
        assert result["status"] == "SUCCESS"
        with Redis.from_url(redis.url) as client:
            assert client.keys("*studio*")


def client_of(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> VocalSepClient:
    monkeypatch.setenv("AIRFLOW_CONN_VOCALSEP_DEFAULT", connection(**{"url": "", **fields}))
    return VocalSepHook().get_conn()


@pytest.mark.parametrize(
    "fields, url",
    [
        ({}, "https://api.sunoapi.org"),
        ({"url": "api.kie.ai"}, "https://api.kie.ai"),
        ({"url": "localhost", "schema": "http", "port": 8080}, "http://localhost:8080"),
        ({"url": "http://localhost:8080"}, "http://localhost:8080"),
    ],
)
def test_the_host_of_a_connection_is_that_of_the_api(
    fields: dict[str, Any], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client_of(monkeypatch, **fields).base_url.rstrip("/") == url


def test_a_connection_may_name_the_rate_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    client = client_of(monkeypatch, extra={"rate_limit": [5, 20]})

    async def ceiling() -> float:
        async with client:
            return client._setup.limiter.snapshot().ceiling

    assert asyncio.run(ceiling()) == 5 / 20


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"password": ""}, "has no password"),
        ({"extra": {"rate_limit": 20}}, "must be empty, or as in"),
        ({"extra": {"rate-limit": [20, 10]}}, "must be empty, or as in"),
    ],
)
def test_a_connection_that_cannot_be_used_says_what_is_missing(
    fields: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        client_of(monkeypatch, **fields)
    assert KEY not in str(caught.value)


# The DAG of the page, and processes that are killed


def in_processes(test: Any) -> Any:
    """Mark a test whose processes take ten seconds of processor time each."""
    return pytest.mark.deep(pytest.mark.timeout(1800)(test))


class Airflow(NamedTuple):
    """A folder with the DAG of the page and a database of Airflow, and the environment for it."""

    folder: Path
    environ: dict[str, str]

    def run(self, hook: str = "") -> Any:
        """Go on with the run of the DAG; what `airflow_program.py` prints, or None if killed."""
        program = Path(__file__).with_name("airflow_program.py")
        run = subprocess.run(
            [sys.executable, program, hook],
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if run.returncode == -signal.SIGKILL:
            return None
        assert run.returncode == 0, run.stdout
        assert KEY not in run.stdout
        return json.loads(run.stdout.splitlines()[-1])

    def clear(self) -> None:
        command = [sys.executable, "-m", "airflow", "tasks", "clear", "songs", "--yes"]
        subprocess.run(command, env=self.environ, capture_output=True, check=True)


@pytest.fixture(scope="session")
def database() -> Path:
    command = [sys.executable, "-m", "airflow", "db", "migrate"]
    subprocess.run(command, capture_output=True, check=True)
    return HOME / "airflow.db"


@pytest.fixture
def airflow(database: Path, vocalsep_emulator: Emulator, tmp_path: Path) -> Airflow:
    home, dags = tmp_path / "airflow", tmp_path / "airflow" / "dags"
    dags.mkdir(parents=True)
    shutil.copy(database, home)
    save_files(PAGE, dags)
    environ = {
        # Airflow takes long enough without a measurement of its coverage.
        **{name: value for name, value in os.environ.items() if "COVERAGE" not in name},
        "AIRFLOW_HOME": str(home),
        "SONGS_CONF": json.dumps({"audio_url": SONG, "stems": str(tmp_path / "stems")}),
    }
    return Airflow(tmp_path, environ)


def assert_saved(airflow: Airflow, run: Any, emulator: Emulator, *, tries: int) -> None:
    assert (run["run"], run["task"], run["tries"]) == ("success", "success", tries)
    assert [run["result"]["task_id"]] == [*emulator.tasks]
    assert all(Path(each).is_file() for each in run["result"]["files"].values())
    assert {each.name for each in airflow.folder.joinpath("stems").iterdir()} == {*emulator.tasks}
    assert creations(emulator) == 1


@in_processes
def test_a_worker_that_is_killed_again_and_again_costs_nothing(
    airflow: Airflow, vocalsep_emulator: Emulator
) -> None:
    assert airflow.run("killed before the wait") is None
    assert creations(vocalsep_emulator) == 1
    assert airflow.run("killed before the download") is None
    assert_saved(airflow, airflow.run(), vocalsep_emulator, tries=3)


@in_processes
def test_a_task_that_is_cleared_while_it_is_deferred_costs_nothing(
    airflow: Airflow, vocalsep_emulator: Emulator
) -> None:
    assert airflow.run("deferred")["task"] == "deferred"
    airflow.clear()
    assert_saved(airflow, airflow.run(), vocalsep_emulator, tries=2)


@in_processes
def test_a_worker_that_is_killed_at_its_request_leaves_the_choice_to_people(
    airflow: Airflow, vocalsep_emulator: Emulator
) -> None:
    assert airflow.run("killed before the request") is None
    run = airflow.run()
    # Without the retry that was left.
    assert (run["run"], run["task"], run["tries"]) == ("failed", "failed", 2)
    assert creations(vocalsep_emulator) == 0


# The module


def reimport_without(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, contrib.__name__)
    monkeypatch.setitem(sys.modules, name, None)
    importlib.import_module(contrib.__name__)


def test_the_module_without_the_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImportError, match=r"vocalsep-async\[airflow\]"):
        reimport_without("airflow.sdk", monkeypatch)


def test_another_module_that_is_missing_is_named_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    class Missing(ModuleType):
        def __getattr__(self, name: str) -> object:
            raise ModuleNotFoundError("No module named 'pendulum'", name="pendulum")

    monkeypatch.delitem(sys.modules, contrib.__name__)
    monkeypatch.setitem(sys.modules, "airflow.triggers.base", Missing("airflow.triggers.base"))
    with pytest.raises(ModuleNotFoundError, match="pendulum"):
        importlib.import_module(contrib.__name__)
