"""The front door: one client for one account."""

from __future__ import annotations

import inspect
import math
import os
import warnings
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self

import anyio
from attrs import frozen

from vocalsep_async import _check, _options
from vocalsep_async.batch import BatchRunner
from vocalsep_async.decoding import Decoder
from vocalsep_async.dialects import Dialect, dialect_for
from vocalsep_async.errors import (
    ClientClosedError,
    ConfigurationError,
    DecodeError,
    ServerError,
    TransportError,
    Verdict,
    VocalSepError,
)
from vocalsep_async.models import (
    SeparationTask,
    SeparationType,
    TaskOutcome,
    TaskRef,
    separation_type,
)
from vocalsep_async.pacing import Pacer, RateLimit
from vocalsep_async.polling import Asker, Gate, Poller, Wait
from vocalsep_async.schedule import Adaptive, Durations, PollPolicy, RetryPolicy
from vocalsep_async.transport import ApiKey, Request, Transport

if TYPE_CHECKING:
    import aiohttp
    from yarl import URL

OnUpdate = Callable[[SeparationTask], Awaitable[object] | object]

_GENERATE = "/api/v1/vocal-removal/generate"


@frozen
class ClientStats:
    """What a client has done and may do now.

    Attributes:
        requests: requests sent, each counted once on the wire.
        refused: how many of them the API refused as too many (405/430 and their like).
        in_flight: requests sent and not answered yet.
        rate: requests per second that the pacer allows now; infinity while no limit is known.
        paused_for: seconds for which nobody asks, after a refusal or in maintenance; 0 if not.
    """

    requests: int
    refused: int
    in_flight: int
    rate: float
    paused_for: float


class VocalSepClient:
    """Waits for the tasks of one account, within one budget of requests.

    Use one client for each key and process: all its waits share a pacer, a schedule and what was
    learned about durations. Constructing needs no running event loop; the client then belongs to
    the loop it is first used in. Close it with ``async with`` or `aclose`; opening and closing may
    happen in different tasks.

    Args:
        api_key: the key; it never shows in a repr, log, error, traceback or pickle.
        base_url: where the API is.
        dialect: what its codes mean; None finds it from the host (`SUNOAPI` if nobody listed it).
        rate_limit: what the account may do; None if no ceiling is known, then it is learned.
        request_timeout: seconds for one HTTP exchange, connecting and body included, above 0.
        retry: how often one look that met a broken request is tried.
        poll: when to look again at a pending task, unless a call says otherwise.
        session: an aiohttp session to borrow; it is never closed. None makes one, without cookies
            and without the environment's proxies and netrc.
        trace_configs: aiohttp trace configs for the session that is made.
        proxy: URL of an HTTP proxy; None for none.
        user_agent: how to introduce the client; None for its name and version.

    Raises:
        ConfigurationError: an argument is unusable.
    """

    def __init__(
        self,
        api_key: str,
        *,
        base_url: str | URL = "https://api.sunoapi.org",
        dialect: Dialect | None = None,
        rate_limit: RateLimit | None = RateLimit(20, 10.0),  # noqa: B008 - a frozen value
        request_timeout: float = 30.0,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - a frozen value
        poll: PollPolicy = Adaptive(),  # noqa: B008 - a frozen value
        session: aiohttp.ClientSession | None = None,
        trace_configs: Sequence[aiohttp.TraceConfig] = (),
        proxy: str | URL | None = None,
        user_agent: str | None = None,
    ) -> None:
        try:
            key = ApiKey(api_key)
        finally:
            del api_key  # tracebacks may show local variables
        url = _options.base_url(base_url)
        _options.instance(dialect, "dialect", (Dialect, type(None)))
        _options.instance(rate_limit, "rate_limit", (RateLimit, type(None)))
        _options.instance(retry, "retry", RetryPolicy)
        if session is not None and trace_configs:
            raise ConfigurationError("a borrowed session has its own trace_configs")
        self._dialect = dialect or dialect_for(url.host or "")
        self._poll = _options.policy(poll)
        self._transport = Transport(
            url,
            key,
            request_timeout=_check.number(
                request_timeout, "request_timeout", minimum=0.0, above=True
            ),
            user_agent=_options.user_agent(user_agent),
            session=session,
            trace_configs=trace_configs,
            proxy=_options.proxy(proxy),
        )
        self._pacer = Pacer(rate_limit)
        self._asker = Asker(Gate(self._pacer), self._transport, retry)
        self._decoder = Decoder(self._dialect)
        self._poller = Poller(self._asker, self._decoder, Durations())

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ, **options: Any) -> Self:
        """Make a client from ``VOCALSEP_API_KEY`` and, if set, ``VOCALSEP_BASE_URL``.

        Args:
            environ: where to look.
            options: further arguments of the client; they beat the environment.

        Raises:
            ConfigurationError: the key is missing, or an argument is unusable.
        """
        try:
            key: Any = ApiKey(_options.key_in(environ))
            found = _options.base_url_in(environ)
        finally:
            del environ  # tracebacks may show local variables
        return cls(key, **{**found, **options})

    def __repr__(self) -> str:
        if not hasattr(self, "_poller"):
            return "<VocalSepClient, not made>"  # tracebacks show one that was refused
        return f"<VocalSepClient of {self._transport.host} ({self._dialect.name}): {self._pacer!r}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a client is not copied or pickled; make one in each process")

    def __del__(self) -> None:
        transport = getattr(self, "_transport", None)
        if transport is not None and transport.needs_closing:
            warnings.warn(
                f"unclosed {self!r}; use 'async with' or await aclose()",
                ResourceWarning,
                stacklevel=1,
                source=self,
            )

    async def __aenter__(self) -> Self:
        self._transport.bind()
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the client; may be called again.

        Calls that are under way end with `ClientClosedError`. The tasks at the provider go on.
        """
        await self._poller.aclose()
        await self._transport.aclose()

    @property
    def durations(self) -> Durations:
        """What this client has learned about durations; has ``save(path)`` and ``load(path)``."""
        return self._poller.durations

    @property
    def stats(self) -> ClientStats:
        """What the client has done so far; needs a running event loop."""
        now = anyio.current_time()
        return ClientStats(
            requests=self._pacer.sent,
            refused=self._pacer.refusals,
            in_flight=self._pacer.in_flight,
            rate=self._pacer.rate,
            paused_for=self._pacer.paused_until(now) - now,
        )

    async def get_task(self, task: str | TaskRef) -> SeparationTask:
        """Look at a task once.

        A broken request, a 5xx, a refusal (405/430) or a task that the API does not know yet is
        tried again as the client's `RetryPolicy` says. There is no timeout: each try queues for
        the budget and observes everybody's pauses, of up to 300 s. Bound it with
        ``asyncio.timeout`` where that matters.

        Args:
            task: its id or ref.

        Raises:
            ConfigurationError: the id is unusable; nothing was sent.
            APIError: the API said no; maintenance (455) is not waited out.
            TransportError: no usable answer came back in all tries.
            DecodeError: the answer was not one of this API in all tries.
            ClientClosedError: the client was closed.
        """
        return await self._poller.look_repeatedly(TaskRef.of(task))

    async def wait_for_task(
        self,
        task: str | TaskRef,
        *,
        timeout: float | None = 900.0,  # noqa: ASYNC109 - the field's name for a whole wait
        poll: PollPolicy | None = None,
        on_update: OnUpdate | None = None,
    ) -> SeparationTask:
        """Look at a task until its status leaves PENDING, and return it, whatever it became.

        The first look is immediate and the last one just before the deadline. Refusals (405/430),
        maintenance (455), 5xx and network faults are waited out. Two waits for one task share the
        looks. A cancelled wait never touches the task at the provider.

        Args:
            task: its id or ref.
            timeout: seconds for the whole wait, pauses and queueing for the budget included; it
                cuts a request in flight, whose answer is then dropped. None waits for ever; 0
                looks exactly once, after queueing for the budget.
            poll: when to look again; None takes the client's policy.
            on_update: called with the record of each look, the final one included; may be async.
                One that is slower than the looks gets the newest record next. What it raises ends
                the wait and is raised here.

        Returns:
            The final record; `SeparationTask.succeeded` and `SeparationTask.raise_for_failure`
            tell whether stems are there.

        Raises:
            TaskTimeoutError: time ran out, or cannot suffice because everybody is paused for
                longer; wait again with the same id.
            ConfigurationError: an argument is unusable; nothing was sent.
            APIError: 400, 401, 404, no credits, or a task the API does not know.
            TransportError: an answer that no repetition changes: a redirect, a bad certificate.
            DecodeError: five answers in a row were not of this API.
            ClientClosedError: the client was closed.
        """
        ref, policy = TaskRef.of(task), self._policy_or(poll)
        _options.callback(on_update)
        seconds = _check.timeout(timeout)
        deadline = self._deadline_in(seconds)
        wait = Wait(policy, deadline, once=seconds == 0, every_look=on_update is not None)
        async with self._poller.follow(ref, wait):
            with anyio.CancelScope(deadline=deadline):
                return await _final(wait, on_update)
            if wait.task is not None and wait.has_final:
                return wait.task  # only on_update was cut
            raise wait.timeout_error()

    async def wait_for_tasks(
        self,
        tasks: Iterable[str | TaskRef] | AsyncIterable[str | TaskRef],
        *,
        type: SeparationType | str | None = None,  # noqa: A002 - the API's own word
        timeout: float | None = 900.0,  # noqa: ASYNC109 - the field's name for a whole wait
        poll: PollPolicy | None = None,
    ) -> dict[str, TaskOutcome]:
        """Wait for many tasks at once; one that fails does not hurt the others.

        Args:
            tasks: ids or refs; one that appears twice is waited for once.
            type: what kind of separation they are; refs that say it themselves keep theirs. None
                if not known.
            timeout: as in `wait_for_task`, for all of them together; 0 looks at each once.
            poll: when to look again; None takes the client's policy.

        Returns:
            One outcome for each id, in the order given.

        Raises:
            ConfigurationError: an argument is unusable; nothing was sent.
            ClientClosedError: the client was closed before it began.
        """
        refs = await _options.refs(tasks, type)
        async with self.track(refs, timeout=timeout, poll=poll) as batch:
            outcomes = {outcome.task_id: outcome async for outcome in batch}
        return {ref.task_id: outcomes[ref.task_id] for ref in refs}

    def track(
        self,
        tasks: Iterable[str | TaskRef] | AsyncIterable[str | TaskRef] = (),
        *,
        type: SeparationType | str | None = None,  # noqa: A002 - the API's own word
        max_concurrency: int = 8,
        timeout: float | None = None,
        poll: PollPolicy | None = None,
        keep_open: bool = False,
    ) -> BatchRunner:
        """Track many tasks at once, and get each outcome as soon as the budget lets it be known.

        Use it as ``async with client.track(ids) as batch`` and iterate over *batch*. One bad task
        hurts no other. A dead key or an empty account ends the batch: every id that is open gets
        that error as its outcome.

        Args:
            tasks: ids or refs, from an iterable or an async iterable; an id that comes twice is
                tracked once. What has a length is read, and checked, on entering the block; what
                comes one by one is read as it is needed, without end (an id that comes again is
                recognised among the last 100,000).
            type: what kind of separation they are; refs that say it themselves keep theirs. None
                if not known. Knowing it saves about a third of the delay in big batches.
            max_concurrency: looks that may be under way at once, at least 1; it does not limit how
                many tasks are tracked.
            timeout: seconds for each task from the moment it was taken in; then its outcome is a
                `TaskTimeoutError`. 0 looks at each once. None waits for ever.
            poll: when to look again; None takes the client's policy. Where the budget is short of
                what all want, those come first that are most likely to have ended long ago.
            keep_open: whether iteration goes on until `BatchRunner.close`, for tasks added later.

        Raises:
            ConfigurationError: an argument is unusable; nothing was sent.
        """
        _options.instance(keep_open, "keep_open", bool)
        return BatchRunner(
            self._poller,
            _options.many(tasks, "track"),
            type_=separation_type(type),
            max_concurrency=_check.at_least_one(max_concurrency, "max_concurrency"),
            timeout=_check.timeout(timeout),
            policy=self._policy_or(poll),
            keep_open=keep_open,
        )

    async def create_task(
        self,
        *,
        callback_url: str,
        source_task_id: str | None = None,
        audio_id: str | None = None,
        audio_url: str | None = None,
        type: SeparationType | str = SeparationType.SEPARATE_VOCAL,  # noqa: A002 - the API's word
        stem_name: str | None = None,
    ) -> TaskRef:
        """Create a separation task. **Every call is billed**, also for the same song.

        It is therefore tried again only where the task cannot have been created: after a refusal
        (405/430), or when no connection was made. Give either *source_task_id* with *audio_id*,
        or *audio_url*.

        Args:
            callback_url: where the API posts the result; it requires one. Waiting does not need
                it to work: a task whose webhook failed still has its stems.
            source_task_id: the music task that made the song.
            audio_id: which of its tracks.
            audio_url: a song from elsewhere.
            type: what to make of it.
            stem_name: the instrument for `SeparationType.SPLIT_STEM_ADVANCED`; None leaves it out.

        Returns:
            The id, the type and the time of creation: what `wait_for_task` can use best.

        Raises:
            ConfigurationError: an argument is unusable; nothing was sent.
            APIError: the API said no.
            TransportError, DecodeError, ServerError: no usable answer came back. Where the task
                may have been created all the same, a note on the error says so.
            ClientClosedError: the client was closed; with the same note if a request was under
                way.
        """
        kind = separation_type(type)
        body = _options.song(source_task_id, audio_id, audio_url) | {
            "type": kind,
            "callBackUrl": _options.link(callback_url, "callback_url"),
        }
        if stem_name is not None:
            body["stemName"] = _options.text(stem_name, "stem_name")
        request = Request("POST", _GENERATE, json=body)
        try:
            task_id = await self._asker.repeatedly(
                request, self._decoder.created, _cannot_have_created
            )
        except VocalSepError as error:
            if _may_have_created(error):
                error.add_note("The task may have been created and billed; it is not sent again.")
            raise
        return TaskRef(task_id, type=kind, created_at=datetime.now(UTC))

    async def get_credits(self) -> float:
        """Ask how many credits the account has left.

        Raises:
            APIError: the API said no.
            TransportError: no usable answer came back in all tries.
            DecodeError: the answer was not one of this API in all tries.
            ClientClosedError: the client was closed.
        """
        return await self._asker.repeatedly(
            Request("GET", self._dialect.credits_path),
            self._decoder.credits,
            lambda error: error.verdict in (Verdict.RETRY, Verdict.PAUSE_EVERYONE),
        )

    def _deadline_in(self, seconds: float | None) -> float:
        self._transport.bind()  # says better than the clock that no event loop is running
        return anyio.current_time() + seconds if seconds else math.inf

    def _policy_or(self, poll: PollPolicy | None) -> PollPolicy:
        return self._poll if poll is None else _options.policy(poll)


async def _tell(on_update: OnUpdate | None, task: SeparationTask) -> None:
    if on_update is None:
        return
    result = on_update(task)
    if inspect.isawaitable(result):
        await result


async def _final(wait: Wait, on_update: OnUpdate | None) -> SeparationTask:
    while True:
        task = await wait.next()
        await _tell(on_update, task)
        if task.is_final:
            return task


def _cannot_have_created(error: VocalSepError) -> bool:
    """Whether a billed call that met *error* may be sent again."""
    if isinstance(error, TransportError):
        return not error.may_have_arrived and error.verdict is Verdict.RETRY
    return error.verdict is Verdict.PAUSE_EVERYONE


def _may_have_created(error: VocalSepError) -> bool:
    """Whether a billed call that met *error* may have been carried out."""
    if isinstance(error, (TransportError, ClientClosedError)):
        return error.may_have_arrived
    return isinstance(error, (DecodeError, ServerError))
