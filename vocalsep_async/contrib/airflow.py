"""A deferrable operator for Airflow, and its trigger; install ``vocalsep-async[airflow]``.

The operator creates the task, keeps its id in the state store of its task instance, and frees the
worker. The trigger waits, in the triggerer. Retries, and a task instance that was cleared, find the
id there: the task of the song is created, and billed, once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from attrs import field, frozen

from vocalsep_async import _validation
from vocalsep_async.client import VocalSepClient
from vocalsep_async.errors import (
    ConfigurationError,
    CreationUncertainError,
    InvalidArgumentError,
    VocalSepError,
)
from vocalsep_async.instrumentation import CreationFailed, Event
from vocalsep_async.models import (
    STEMS_READY,
    SeparationType,
    SeparationTypeName,
    TaskRef,
    separation_type,
)
from vocalsep_async.policies import RateLimit
from vocalsep_async.songs import OnUncertain

try:
    from airflow.sdk import NEVER_EXPIRE, BaseHook, BaseOperator
    from airflow.sdk.exceptions import AirflowException, AirflowFailException
    from airflow.sdk.module_loading import import_string
    from airflow.triggers.base import BaseTrigger, TriggerEvent
except ImportError as _error:
    if _error.name is None or _error.name.partition(".")[0] != "airflow":
        raise
    raise ImportError(
        "vocalsep_async.contrib.airflow needs apache-airflow 3.3 or newer: install the extra "
        "airflow, as vocalsep-async[airflow]",
        name=_error.name,
    ) from None

if TYPE_CHECKING:
    from airflow.sdk import Connection, Context

__all__ = ["SeparateSongOperator", "SeparationTrigger", "VocalSepHook"]

_API = "https://api.sunoapi.org"
_KEY = "vocalsep"
"""The key in the state store of a task instance."""


@frozen
class _Account:
    """What a connection says; clients of one account share a rate limit."""

    key: str = field(repr=False)
    base_url: str
    rate_limit: RateLimit
    client_factory: str | None

    @classmethod
    def of(
        cls, connection: Connection, extra: Mapping[str, Any], client_factory: str | None
    ) -> _Account:
        name = f"the connection {connection.conn_id!r}"
        if not connection.password:
            raise ConfigurationError(f"{name} has no password: put the API key there")
        limit = extra.get("rate_limit", (20, 10.0))
        if set(extra) - {"rate_limit"} or not isinstance(limit, (list, tuple)) or len(limit) != 2:
            raise ConfigurationError(
                f'the extra of {name} must be empty, or as in {{"rate_limit": [20, 10]}}'
            )
        return cls(connection.password, _address(connection), RateLimit(*limit), client_factory)

    def client(self) -> VocalSepClient:
        path = self.client_factory
        make = VocalSepClient if path is None else import_string(path)
        made: VocalSepClient = make(self.key, base_url=self.base_url, rate_limit=self.rate_limit)
        return made


def _address(connection: Connection) -> str:
    host = connection.host or _API
    if "://" not in host:
        host = f"{connection.schema or 'https'}://{host}"
    return f"{host}:{connection.port}" if connection.port else host


_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[_Account, VocalSepClient]] = (
    WeakKeyDictionary()
)
"""The clients that the triggers of an event loop share."""


class VocalSepHook(BaseHook):
    """Makes clients from an Airflow connection: its password is the API key.

    The host of the connection is the host of the API, or its URL; without one, it is
    "api.sunoapi.org". The extra may hold the limit of the client, as in
    ``{"rate_limit": [10, 10]}``.

    Args:
        conn_id: the id of the connection.
        client_factory: the import path of a function that makes the client, for example one with a
            limiter that several processes share. It is called with
            ``(api_key, base_url=..., rate_limit=...)``. Triggers call it in their event loop, so it
            must not block. None calls `VocalSepClient`.
    """

    conn_name_attr = "conn_id"
    default_conn_name = "vocalsep_default"
    conn_type = "vocalsep"
    hook_name = "VocalSep"

    def __init__(self, conn_id: str = default_conn_name, client_factory: str | None = None) -> None:
        super().__init__()
        self.conn_id = conn_id
        self.client_factory = client_factory

    def get_conn(self) -> VocalSepClient:
        """Make a client, which the caller closes, for example with ``async with``.

        Raises:
            ConfigurationError: the connection is unusable.
        """
        connection = self.get_connection(self.conn_id)
        return _Account.of(connection, connection.extra_dejson, self.client_factory).client()

    async def shared_client(self) -> VocalSepClient:
        """Return the client that all triggers of this event loop share; do not close it.

        Raises:
            ConfigurationError: the connection is unusable.
        """
        connection = await self.aget_connection(self.conn_id)
        extra = await connection.aextra_dejson()
        account = _Account.of(connection, extra, self.client_factory)
        # Its connections end with the loop, so that it may stay open.
        clients = _clients.setdefault(asyncio.get_running_loop(), {})
        if account not in clients:
            clients[account] = account.client()
        return clients[account]


class SeparationTrigger(BaseTrigger):
    """Waits until a separation task has ended; it yields one event, which names the task.

    All triggers of a triggerer that use the same connection share a client, and so its rate limit.

    Args:
        separation: the task, as `SeparateSongOperator` keeps it: ``task_id``, and perhaps
            ``type``, ``created_at`` and ``route``.
        conn_id: the id of the Airflow connection.
        until: when the wait ends, in seconds since 1970; None waits without limit. If another
            triggerer takes the wait over, it ends at the same moment, after at least one poll.
        client_factory: as for `VocalSepHook`.
    """

    def __init__(
        self,
        separation: Mapping[str, Any],
        conn_id: str = VocalSepHook.default_conn_name,
        until: float | None = None,
        client_factory: str | None = None,
    ) -> None:
        super().__init__()
        self.separation: dict[str, Any] = dict(separation)
        self.conn_id = conn_id
        self.until = until
        self.client_factory = client_factory

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and its arguments: ids and names, but no key."""
        arguments = {
            "separation": self.separation,
            "conn_id": self.conn_id,
            "until": self.until,
            "client_factory": self.client_factory,
        }
        return f"{type(self).__module__}.{type(self).__qualname__}", arguments

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and yield what `SeparateSongOperator.execute_complete` expects.

        The event holds nothing from the record, because Airflow may run two copies of a trigger,
        whose events have to be equal.
        """
        ref, error = _ref(self.separation), None
        try:
            client = await VocalSepHook(self.conn_id, self.client_factory).shared_client()
            left = None if self.until is None else max(0.0, self.until - time.time())
            await client.wait_for_task(ref, timeout=left)
        except VocalSepError as failure:
            self.log.warning("the wait for task %s failed: %s", ref.task_id, failure)
            error = type(failure).__name__
        yield TriggerEvent({"separation": self.separation, "error": error})


class SeparateSongOperator(BaseOperator):
    """Separates a song without occupying a worker; its task is created, and **billed**, once.

    "Once" means once for each task instance: its retries, and its runs after it was cleared, wait
    for the same task. The result is ``{"task_id", "status", "stems", "files"}``: the names of the
    stems and, with *download_to*, where each was saved. Links are left out, because they would let
    every reader of the XCom fetch the files; a client can get them by the task's id.

    Args:
        audio_url: the URL of the song; either this, or *source_task_id* with *audio_id*.
        source_task_id: the music task that made the song.
        audio_id: the id of the song among the tracks of that task.
        type: the kind of separation.
        stem_name: the instrument for ``split_stem_advanced``; None leaves it out.
        download_to: a directory on the worker in which the stems are saved; None saves nothing.
        timeout: seconds for the wait of each attempt, 0 or more; None waits without limit.
        on_uncertain: what happens if an earlier attempt ended between the request and the answer,
            so that the task may exist without its id being known: "report" fails without a retry;
            "create" creates it again, and may pay twice.
        conn_id: the id of the Airflow connection, see `VocalSepHook`.
        client_factory: as for `VocalSepHook`.
        arguments: the arguments of every operator, such as ``retries``.

    Raises:
        InvalidArgumentError: the type, *timeout* or *on_uncertain* is unusable.
    """

    template_fields: Sequence[str] = ("audio_url", "source_task_id", "audio_id", "download_to")

    def __init__(
        self,
        *,
        audio_url: str | None = None,
        source_task_id: str | None = None,
        audio_id: str | None = None,
        type: SeparationTypeName | SeparationType = "separate_vocal",  # noqa: A002 - the API's word
        stem_name: str | None = None,
        download_to: str | None = None,
        timeout: float | None = 3600.0,
        on_uncertain: OnUncertain = "report",
        conn_id: str = VocalSepHook.default_conn_name,
        client_factory: str | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        if on_uncertain not in ("report", "create"):
            raise InvalidArgumentError('on_uncertain must be "report" or "create"')
        self.audio_url = audio_url
        self.source_task_id = source_task_id
        self.audio_id = audio_id
        # A plain string: Airflow stores the operator as JSON.
        self.type: str = str(separation_type(type))
        self.stem_name = stem_name
        self.download_to = download_to
        self.timeout: float | None = _validation.timeout(timeout)
        self.on_uncertain = on_uncertain
        self.conn_id = conn_id
        self.client_factory = client_factory

    def execute(self, context: Context) -> None:
        """Create the task, unless an earlier attempt has, and wait for it in the triggerer."""
        store = context["task_state_store"]
        known = store.get(_KEY)
        if known is None or ("task_id" not in known and self.on_uncertain == "create"):
            known = self._create(store)
        if "task_id" not in known:
            began_at = datetime.fromisoformat(known["began_at"])
            # A retry would find the same.
            raise AirflowFailException(
                str(CreationUncertainError.of(None, began_at, known.get("reason")))
            )
        self.defer(
            trigger=SeparationTrigger(
                known,
                self.conn_id,
                None if self.timeout is None else time.time() + self.timeout,
                self.client_factory,
            ),
            method_name="execute_complete",
        )

    def _create(self, store: Any) -> dict[str, Any]:
        """Create the task, and keep for later attempts its id, or that it may exist."""
        failures: list[CreationFailed] = []

        def on_event(event: Event) -> None:
            if isinstance(event, CreationFailed):
                failures.append(event)

        client = VocalSepHook(self.conn_id, self.client_factory).get_conn()
        client._engines.listen(on_event)  # noqa: SLF001 - the same package
        mark = {"began_at": datetime.now(UTC).isoformat()}
        # Before the request: the worker may be killed before the answer.
        store.set(_KEY, mark, retention=NEVER_EXPIRE)
        try:
            ref = asyncio.run(self._created(client))
        except BaseException as error:
            if not failures or not failures[-1].may_exist:
                store.delete(_KEY)
                raise
            if not isinstance(error, VocalSepError):
                raise
            known: dict[str, Any] = mark | {"reason": str(error)}
        else:
            # In the log, too, should the store fail now.
            self.log.info("created task %s", ref.task_id)
            known = _kept(ref)
        store.set(_KEY, known, retention=NEVER_EXPIRE)
        return known

    async def _created(self, client: VocalSepClient) -> TaskRef:
        async with client:
            return await client.create_task(
                audio_url=self.audio_url,
                source_task_id=self.source_task_id,
                audio_id=self.audio_id,
                type=SeparationType(self.type),
                stem_name=self.stem_name,
            )

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG002 - Airflow passes it
        """Read the record of the task that has ended, and save its stems."""
        ref, error = _ref(event["separation"]), event["error"]
        if error is not None:
            raise AirflowException(
                f"the wait for task {ref.task_id} ended with a {error}; the log of the trigger has "
                "its message. A retry waits for the same task"
            )
        client = VocalSepHook(self.conn_id, self.client_factory).get_conn()
        return asyncio.run(self._finished(client, ref))

    async def _finished(self, client: VocalSepClient, ref: TaskRef) -> dict[str, Any]:
        async with client:
            task = await client.get_task(ref)
            if not task.succeeded:
                # Links that are missing may still come; a task that failed stays so.
                kind = AirflowException if task.status in STEMS_READY else AirflowFailException
                raise kind(str(task.reason))
            saved = self.download_to and await client.download_stems(task, self.download_to)
        return {
            "task_id": task.task_id,
            "status": str(task.status),
            "stems": sorted(dict(task.stems)),
            "files": {stem: str(path) for stem, path in saved.paths.items()} if saved else {},
        }


def _kept(ref: TaskRef) -> dict[str, Any]:
    """A task as JSON, for the state store and the trigger."""
    return {
        "task_id": ref.task_id,
        "type": str(ref.type),
        "created_at": None if ref.created_at is None else ref.created_at.isoformat(),
        "route": ref.route,
    }


def _ref(kept: Mapping[str, Any]) -> TaskRef:
    created_at = kept.get("created_at")
    return TaskRef(
        kept["task_id"],
        type=kept.get("type"),
        created_at=None if created_at is None else datetime.fromisoformat(created_at),
        route=kept.get("route"),
    )
