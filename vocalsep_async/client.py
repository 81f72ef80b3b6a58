"""`VocalSepClient`: the facade of the package."""

from __future__ import annotations

import os
import warnings
from collections.abc import AsyncIterable, Iterable, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network
from ssl import SSLContext
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypedDict, Unpack
from weakref import WeakSet

import aiohttp
from yarl import URL

from vocalsep_async import _arguments, _events, _logging, _validation
from vocalsep_async._batch.runner import Runner
from vocalsep_async._creation import Creation
from vocalsep_async._downloads.patience import Patience
from vocalsep_async._downloads.plan import DownloadPlan
from vocalsep_async._engine import Engine, Engines, Setup
from vocalsep_async._polling.waiter import OnUpdate
from vocalsep_async._songs.arguments import labelled, run_options, song_options, songs
from vocalsep_async._songs.runner import Runner as SongsRunner
from vocalsep_async._songs.separation import SongOptions
from vocalsep_async._transport.proxies import Proxies
from vocalsep_async._transport.secrets import ApiKey
from vocalsep_async._uploads.uploader import UploadPlan
from vocalsep_async.batch import BatchRunner
from vocalsep_async.downloads import (
    DEFAULT_MAX_BYTES,
    DEFAULT_TEMPLATE,
    Downloadable,
    DownloadOptions,
    OnProgress,
    Overwrite,
    StemStream,
    checked_min_bytes,
    checked_patience,
)
from vocalsep_async.durations import Durations
from vocalsep_async.errors import ConfigurationError
from vocalsep_async.instrumentation import EventListener
from vocalsep_async.journal import Journal
from vocalsep_async.limiter import Limiter, RateLimiter
from vocalsep_async.models import (
    ClientStats,
    DownloadReport,
    PollDone,
    PollPending,
    SeparationTask,
    SeparationType,
    SeparationTypeName,
    TaskOutcome,
    TaskRef,
    separation_type,
)
from vocalsep_async.policies import (
    FILE_BYTES_PER_MINUTE,
    MAX_UPLOAD_BYTES,
    Adaptive,
    PollPolicy,
    RateLimit,
    RetryPolicy,
)
from vocalsep_async.providers import Provider, provider_for
from vocalsep_async.songs import OnSongProgress, OnUncertain, Song, SongRunner, Songs, Source
from vocalsep_async.uploads import OnUploadProgress, Uploadable, UploadedFile

if TYPE_CHECKING:
    from vocalsep_async._receiving import Receiver


class ClientOptions(TypedDict, total=False):
    """The options of `VocalSepClient`, for code that hands them on; it says what they mean."""

    base_url: str | URL | None
    upload_url: str | URL | None
    provider: Provider | None
    rate_limit: RateLimit | None
    limiter: Limiter | None
    request_timeout: float
    retry: RetryPolicy
    poll: PollPolicy
    allow_private_hosts: bool | Iterable[str | IPv4Network | IPv6Network]
    session: aiohttp.ClientSession | None
    trace_configs: Sequence[aiohttp.TraceConfig]
    proxy: str | URL | None
    trust_env: bool
    ssl: SSLContext | None
    user_agent: str | None
    on_event: EventListener | Iterable[EventListener] | None


class VocalSepClient:
    """Waits for the tasks of one account, within one rate limit.

    All clients of one account in this process (the same host and port, key and *rate_limit*) share
    its rate limit and what they learn about durations, in any event loop and thread; the waits of
    one client also share a schedule. Constructing needs no running event loop; the client belongs
    to the loop in which it is first used, and once that is closed, to the next one: it keeps what
    was learned and the budget of its rate limit, while waits and batches end with their loop. Close
    it with ``async with`` or `aclose`; opening and closing may happen in different tasks.

    Args:
        api_key: the key; it never shows in a repr, log, error, traceback or pickle. None reads the
            environment variable ``VOCALSEP_API_KEY``.
        base_url: the address of the API. None reads the environment variable ``VOCALSEP_BASE_URL``,
            even if *api_key* is given, and means https://api.sunoapi.org if that is not set.
        upload_url: where `upload` sends files, and the key with them: an https address, or one on
            this machine. None means the upload host of api.sunoapi.org or of api.kie.ai; for any
            other *base_url* there is none. Where *base_url* is None, the environment variable
            ``VOCALSEP_UPLOAD_URL`` is read first.
        provider: the provider of the API, which builds the requests and knows what answers mean;
            None finds it from the host of *base_url* (`SUNOAPI` if the host is not a known one).
        rate_limit: the limit of the account; None if it is not known: then it is learned. Clients
            that state different limits for one account do not share a budget: the first use of the
            later one emits a `UserWarning`.
        limiter: decides when a request may be sent, instead of *rate_limit*. It belongs to this
            client, which closes it. None makes a `RateLimiter` that shares the account's limit.
        request_timeout: seconds for one HTTP exchange, connecting and body included, above 0.
        retry: how often, and after which delays, a failed request is tried again.
        poll: when a pending task is polled again, unless a call says otherwise.
        allow_private_hosts: where stems may be fetched from, besides public addresses and the exact
            host and port of *base_url*: True is any address and port, networks such as
            ``("198.18.0.0/15",)`` are their addresses, at any port.
        session: an aiohttp session to borrow for the API; it is never closed, and binds the client
            to its event loop. None makes one, without cookies and netrc. Files are always fetched
            with sessions of the client's own, without the key.
        trace_configs: aiohttp trace configs for the session that is made.
        proxy: URL of an HTTP proxy for the API and for files, perhaps with user and password; None
            for none. Where stems are fetched through one, it resolves the names, and what they
            resolve to is not checked.
        trust_env: whether the proxies of the environment are used where *proxy* is None:
            ``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY`` and ``NO_PROXY``, in capitals or not, as
            they are when the client is made. A netrc file is never read.
        ssl: the context for TLS connections to the API, to file hosts and to a proxy, also with a
            borrowed session; None for the default one. It must check certificates. To trust
            another authority: ``ssl.create_default_context(cafile="ca.pem")``.
        user_agent: value of the User-Agent header; None for the package's name and version.
        on_event: called with each event, in the event loop: one function or several; see
            `vocalsep_async.instrumentation`. What they raise is logged. None for none.

    The environment variable ``VOCALSEP_LOG`` (debug, info, warning) shows the log on stderr.

    Raises:
        ConfigurationError: there is no key, or an argument or a variable is unusable or blank.
    """

    def __init__(
        self,
        api_key: str | None = None,
        *,
        base_url: str | URL | None = None,
        upload_url: str | URL | None = None,
        provider: Provider | None = None,
        rate_limit: RateLimit | None = RateLimit(20, 10.0),  # noqa: B008 - a frozen value
        limiter: Limiter | None = None,
        request_timeout: float = 30.0,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - a frozen value
        poll: PollPolicy = Adaptive(),  # noqa: B008 - a frozen value
        allow_private_hosts: bool | Iterable[str | IPv4Network | IPv6Network] = False,
        session: aiohttp.ClientSession | None = None,
        trace_configs: Sequence[aiohttp.TraceConfig] = (),
        proxy: str | URL | None = None,
        trust_env: bool = False,
        ssl: SSLContext | None = None,
        user_agent: str | None = None,
        on_event: EventListener | Iterable[EventListener] | None = None,
    ) -> None:
        try:
            key = ApiKey(_arguments.key_in(os.environ) if api_key is None else api_key)
        finally:
            del api_key  # tracebacks may show local variables
        with _arguments.setting_up():
            url = (
                _arguments.base_url_in(os.environ)
                if base_url is None
                else _arguments.base_url(base_url)
            )
            uploads = (
                # The variable belongs to that of *base_url*: it must not get another API's key.
                _arguments.upload_url_in(os.environ if base_url is None else {}, url)
                if upload_url is None
                else _arguments.upload_url(upload_url)
            )
            _arguments.instance(provider, "provider", (Provider, type(None)))
            given = _arguments.limiter(limiter, rate_limit)
            _arguments.instance(retry, "retry", RetryPolicy)
            rules = _arguments.address_rules(allow_private_hosts)
            self._poll = _arguments.policy(poll)
            seconds = _validation.number(
                request_timeout, "request_timeout", minimum=0.0, above=True
            )
            name, tls = _arguments.user_agent(user_agent), _arguments.tls(ssl)
            _arguments.instance(trust_env, "trust_env", bool)
            proxies = Proxies(*_arguments.proxies(proxy, trust_env=trust_env))
            listeners = _events.checked(on_event)
        if session is not None and trace_configs:
            raise ConfigurationError("a borrowed session has its own trace_configs")
        _logging.show_from(_arguments.log_level_in(os.environ))
        shared = RateLimiter(rate_limit)
        self._setup = Setup(
            base_url=url,
            upload_url=uploads,
            key=key,
            provider=provider or provider_for(url.host or ""),
            rate_limit=rate_limit,
            limiter=shared if given is None else given,
            shared=shared if given is None else None,
            request_timeout=seconds,
            retry=retry,
            rules=rules,
            session=session,
            trace_configs=trace_configs,
            proxies=proxies,
            tls=tls,
            user_agent=name,
            listeners=list(listeners),
        )
        self._receivers: WeakSet[Receiver] = WeakSet()
        self._durations = Durations()
        self._engines = Engines(
            self._setup,
            self._durations._hazards,  # noqa: SLF001 - the table behind what users hold
        )

    @classmethod
    def from_env(
        cls, environ: Mapping[str, str] | None = None, **options: Unpack[ClientOptions]
    ) -> Self:
        """Make a client from a mapping in place of the environment, as for a test.

        Args:
            environ: where ``VOCALSEP_API_KEY``, ``VOCALSEP_BASE_URL`` and ``VOCALSEP_UPLOAD_URL``
                are read; None reads ``os.environ`` at the time of the call, as the constructor
                does.
            options: the keyword arguments of the constructor; *base_url* and *upload_url* beat the
                mapping.

        Raises:
            ConfigurationError: as for the constructor.
        """
        if environ is None:
            return cls(**options)
        try:
            # Wrapped before the call: as a string it would be a local variable in tracebacks.
            key: Any = ApiKey(_arguments.key_in(environ))
            if options.get("base_url") is None:
                api = _arguments.base_url_in(environ)
                options["base_url"] = api
                if options.get("upload_url") is None:
                    options["upload_url"] = _arguments.upload_url_in(environ, api)
        finally:
            del environ  # tracebacks may show local variables
        return cls(key, **options)

    def __repr__(self) -> str:
        if not hasattr(self, "_engines"):
            return "<VocalSepClient, not made>"  # tracebacks may show one whose set-up failed
        about = f"{self._setup.base_url.host} ({self._setup.provider.name})"
        return f"<VocalSepClient of {about}: {self._setup.limiter!r}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a client is not copied or pickled; make one in each process")

    def __del__(self) -> None:
        # There are no engines where the set-up failed.
        if hasattr(self, "_engines") and self._engines.leave():
            warnings.warn(
                f"unclosed {self!r}; use 'async with' or await aclose()",
                ResourceWarning,
                stacklevel=1,
                source=self,
            )

    async def __aenter__(self) -> Self:
        self._engines.here().sender.bind()
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

        Raises:
            ConfigurationError: the client belongs to another event loop, which is not closed.
        """
        await self._engines.here().aclose()

    @property
    def base_url(self) -> str:
        """The address of the API."""
        return str(self._setup.base_url)

    @property
    def durations(self) -> Durations:
        """What the clients of the account have learned about durations, in this process.

        A client shares them from its first use until it is closed. After that, it keeps what it
        knows.
        """
        return self._durations

    @property
    def stats(self) -> ClientStats:
        """What the client has done so far, in all its event loops.

        Raises:
            ConfigurationError: it was read outside the client's event loop.
        """
        return self._engine.stats()

    async def get_task(
        self,
        task: str | TaskRef,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - the field's name for a whole call
    ) -> SeparationTask:
        """Poll a task once.

        A failed request, a 5xx, a throttled one (405/430) or a task that the API does not know
        yet is tried again as the client's `RetryPolicy` says.

        Args:
            task: its id or ref.
            timeout: seconds for the whole call: queueing for the rate limit, pauses of up to 300 s,
                all attempts. A call gets no slot when an answer would take longer than the time
                left, so prefer it to ``asyncio.timeout``. None waits without limit; 0 sends
                nothing.

        Raises:
            RequestTimeoutError: time ran out, or too little was left (half at most) for an answer.
            InvalidArgumentError: an argument is unusable, or the client cannot poll on the task's
                route; nothing was sent.
            APIError: the API returned an error; maintenance (455) is not waited out.
            TransportError: no usable answer came back in any attempt.
            DecodeError: no attempt had an answer of this API.
            ClientClosedError: the client was closed.
        """
        ref, timeout = TaskRef.of(task), _validation.timeout(timeout)
        return await self._engines.here().poller.poll_with_retries(ref, timeout)

    async def wait_for_task(
        self,
        task: str | TaskRef,
        *,
        timeout: float | None = 900.0,  # noqa: ASYNC109 - the field's name for a whole wait
        poll: PollPolicy | None = None,
        on_update: OnUpdate | None = None,
    ) -> SeparationTask:
        """Poll a task until its status leaves PENDING, and return it, even if it has failed.

        The first poll is immediate, unless the ref expects a callback (`TaskRef.expects_callback`),
        and the last one just before the deadline. Throttling
        (405/430), maintenance (455), 5xx and network faults are waited out. Two waits for one task
        share the polls. A cancelled wait never affects the task at the provider.

        Args:
            task: its id or ref.
            timeout: seconds for the whole wait, pauses and queueing for the rate limit included;
                it cuts off a request in flight, whose answer is then dropped. None waits without
                limit; 0 polls exactly once, after queueing for the rate limit.
            poll: when the task is polled again; None takes the client's policy.
            on_update: called with the record of each poll, the final one included; may be async.
                If it is slower than the polls, it gets the newest record next. An exception that
                it raises ends the wait and is raised here.

        Returns:
            The final record; `SeparationTask.succeeded` says whether its stems are there. A success
            without links is polled again for a minute before it is returned.

        Raises:
            TaskTimeoutError: time ran out; ``last_error`` says what kept the client from polling.
            InvalidArgumentError: an argument is unusable; nothing was sent.
            APIError: 400, 401, 404, no credits, or a task the API does not know; a
                `RateLimitedError` if 405 is all that the client ever got: *base_url* is probably
                wrong.
            TransportError: a redirect or a bad certificate, before any answer of this API came.
            DecodeError: five answers in a row could not be read; answers from something in between
                count only before any answer of this API came.
            ClientClosedError: the client was closed.
        """
        ref, policy = TaskRef.of(task), self._policy_or(poll)
        _arguments.callback(on_update)
        seconds = _validation.timeout(timeout)
        poller = self._engines.here().poller
        waiter = poller.waiter(ref, policy, seconds, every_record=on_update is not None)
        return await poller.wait(ref, waiter, on_update)

    async def poll_once(
        self,
        task: str | TaskRef,
        *,
        state: Mapping[str, Any] | None = None,
        poll: PollPolicy | None = None,
    ) -> PollDone | PollPending:
        """Poll a task at most once, and say when to poll it again; for callers that cannot sleep.

        It waits for one answer at most: if the rate limit has no room, nothing is sent. Call it
        again after `PollPending.delay` seconds with `PollPending.state`, in any process: the state
        is JSON. Callers that find no slot get different delays; a call that comes at its time takes
        precedence over other polls, and waits for its slot for up to 2 s.

        Args:
            task: its id or ref.
            state: `PollPending.state` of the last call; None for the first call.
            poll: when the task is polled again; None takes the client's policy.

        Raises:
            InvalidArgumentError: an argument is unusable; nothing was sent.
            VocalSepError: no repetition would help; see `wait_for_task`.
        """
        policy = self._policy_or(poll)
        engine = self._engines.here()
        return await engine.poller.stateless.poll(engine.routes.ref(task), policy, state)

    def notify(self, task: str | TaskRef, *, record: SeparationTask | None = None) -> bool:
        """Poll a task that is waited for as soon as the rate limit allows; for webhooks.

        All waits and batches for it get the record that the poll finds. If there is none yet, the
        call is remembered for 15 minutes, and the first poll of one that begins later is immediate.
        If a call caused a poll too early, the next one brings a poll forward only to 5 s after
        that, then to 15 s, and so on: false callbacks must not use up the rate limit. Call it in
        the client's event loop; from another thread use
        ``loop.call_soon_threadsafe(client.notify, task_id)``.

        Args:
            task: its id or ref.
            record: the task's record, from a callback that cannot be forged; it ends the waits as
                if a poll had found it. A record that is not final, or a success without links, only
                causes a poll, and so does None.

        Returns:
            Whether a wait or batch of this client waits for the task now.

        Raises:
            InvalidArgumentError: the id is unusable, the client cannot poll on its route, or
                *record* is not of this task.
            ConfigurationError: it was called in another thread or event loop.
        """
        engine = self._engine
        engine.binding.check()
        return engine.poller.callbacks.notify(task, record)

    async def wait_for_tasks(
        self,
        tasks: Iterable[str | TaskRef] | AsyncIterable[str | TaskRef],
        *,
        type: SeparationTypeName | SeparationType | None = None,  # noqa: A002 - the API's own word
        timeout: float | None = 900.0,  # noqa: ASYNC109 - the field's name for a whole wait
        poll: PollPolicy | None = None,
    ) -> dict[str, TaskOutcome]:
        """Wait for many tasks together; one that fails does not affect the others.

        Args:
            tasks: ids or refs; one that appears twice is waited for once.
            type: the type of the tasks whose ref has none; None if not known.
            timeout: as in `wait_for_task`, for all of them together; 0 polls each once.
            poll: when a task is polled again; None takes the client's policy.

        Returns:
            One outcome for each id, in the order given.

        Raises:
            InvalidArgumentError: an argument is unusable; nothing was sent.
            ClientClosedError: the client was closed before it began.
        """
        refs = await _arguments.refs(tasks, type)
        async with self.track(refs, timeout=timeout, poll=poll) as batch:
            outcomes = {outcome.task_id: outcome async for outcome in batch}
        return {ref.task_id: outcomes[ref.task_id] for ref in refs}

    def track(
        self,
        tasks: Iterable[str | TaskRef] | AsyncIterable[str | TaskRef] = (),
        *,
        type: SeparationTypeName | SeparationType | None = None,  # noqa: A002 - the API's own word
        max_concurrency: int | None = None,
        timeout: float | None = None,
        poll: PollPolicy | None = None,
        keep_open: bool = False,
        download_to: DownloadOptions | str | os.PathLike[str] | None = None,
        journal: Journal | str | os.PathLike[str] | None = None,
    ) -> BatchRunner:
        """Track many tasks, and get each outcome as soon as the rate limit allows it to be known.

        Use it as ``async with client.track(ids) as batch`` and iterate over *batch*. A failed task
        does not affect the others. A rejected key or an empty account ends the batch: every id
        that is open gets that error as its outcome.

        Args:
            tasks: ids or refs, from an iterable or an async iterable; an id that comes twice is
                tracked once. A collection is read and checked on entering the block, a generator
                as ids are needed, without end (repetitions are found among the last 100,000).
            type: what kind of separation they are; a ref with a type keeps its own. None if not
                known. Knowing it saves about a third of the delay in big batches.
            max_concurrency: polls in flight at the same time, at least 1; it does not limit how
                many tasks are tracked. None takes what the rate limit allows in a second, from 8
                to 100.
            timeout: seconds for each task from the moment it was added; then its outcome is a
                `TaskTimeoutError`. 0 polls each once. None waits without limit.
            poll: when a task is polled again; None takes the client's policy. Where the rate limit
                is too low for all, those tasks come first that have most likely ended long ago.
            keep_open: whether iteration continues until `BatchRunner.close`, for tasks added later.
            download_to: a directory in which the stems of each task are saved before its outcome
                is handed out, four files at a time, or `DownloadOptions`; polls continue meanwhile.
                `TaskOutcome.download_error` says what could not be saved. None saves nothing.
            journal: a `Journal`, or the path of one, for a batch that may be interrupted: what an
                earlier run left in it is resumed on entering the block. Tasks that had ended are
                handed out again without a poll; for the others *timeout* counts from when they were
                first added, and one that is over allows one more poll. An outcome is written before
                it is handed out. None keeps none.

        Raises:
            InvalidArgumentError: an argument is unusable; nothing was sent.
            ConfigurationError: the client's event loop runs in another thread.
        """
        _arguments.instance(keep_open, "keep_open", bool)
        engine = self._engines.elsewhere()
        return Runner(
            engine.poller,
            _arguments.many(tasks, "track"),
            type_=separation_type(type),
            max_concurrency=None
            if max_concurrency is None
            else _validation.at_least_one(max_concurrency, "max_concurrency"),
            timeout=_validation.timeout(timeout),
            policy=self._policy_or(poll),
            keep_open=keep_open,
            events=engine.events,
            save=None if download_to is None else engine.saving_to(download_to),
            recorder=None if journal is None else engine.recorder_in(journal),
        )

    async def download_stems(
        self,
        task: Downloadable,
        directory: str | os.PathLike[str],
        *,
        stems: Iterable[str] | None = None,
        template: str = DEFAULT_TEMPLATE,
        max_concurrency: int = 4,
        overwrite: Overwrite = "if-different",
        max_bytes: int = DEFAULT_MAX_BYTES,
        timeout: float | None = None,  # noqa: ASYNC109 - the field's name for a whole call
        patience: float | None = None,
        min_bytes_per_minute: int | None = FILE_BYTES_PER_MINUTE,
        on_progress: OnProgress | None = None,
    ) -> DownloadReport:
        """Save the stems of a task, each whole or not at all.

        A file gets its name when it is whole and on the disk; until then it is hidden beside it.
        A connection that breaks is resumed, in this call or a later one; an expired link is
        renewed by one poll of the task. A manifest lists what was saved, so a second call fetches
        only what is missing. Task ids and labels that are no good file names are changed for the
        path. The key is sent to no file host.

        Args:
            task: its record, outcome, id or ref; an id is polled first.
            directory: where files go, made if need be.
            stems: their names, such as ``["vocal", "drums"]``; None for all that are there.
            template: where each file goes below *directory*, with ``{task_id}``, ``{label}``,
                ``{stem}`` and ``{ext}``; see `DownloadOptions`.
            max_concurrency: files that are fetched at the same time, at least 1.
            overwrite: what happens to a file that exists already; see `Overwrite`.
            max_bytes: how large a file may be, at least 1; a larger one is not fetched.
            timeout: seconds for the whole call, without the poll, above 0; None for no limit.
            patience: seconds, from 0, for which a file may make no progress; None is a minute,
                or as long as *timeout* has time left.
            min_bytes_per_minute: the least pace of a file, at least 1; None for none.
            on_progress: called with a `DownloadProgress`, ten times a second for a file at most. An
                exception that it raises ends the call and is raised here.

        `DownloadOptions`, which has the same options, says more about them.

        Returns:
            What is on disk now.

        Raises:
            DownloadError: some stems are not; the others are. ``error.report`` says which.
            TaskFailedError: the task has not ended, or ended without stems.
            ClientClosedError: the client was closed.
            InvalidArgumentError: an argument is unusable.
            VocalSepError: the poll of the task failed; see `get_task`.
        """
        to = DownloadOptions(
            directory,
            stems=stems,
            template=template,
            max_concurrency=max_concurrency,
            overwrite=overwrite,
            max_bytes=max_bytes,
            timeout=timeout,
            patience=patience,
            min_bytes_per_minute=min_bytes_per_minute,
            on_progress=on_progress,
        )
        plan = DownloadPlan.of(to)
        return await self._engines.here().downloader.save(task, plan)

    def open_stem(
        self,
        task: Downloadable,
        stem: str,
        *,
        max_bytes: int = DEFAULT_MAX_BYTES,
        patience: float | None = None,
        min_bytes_per_minute: int | None = FILE_BYTES_PER_MINUTE,
    ) -> StemStream:
        """Read one stem, to store it elsewhere; as ``async with client.open_stem(...) as stream``.

        Its size and content type are known in the block, and iterating gives its bytes.
        Connections that break are resumed and expired links renewed, as in `download_stems`; the
        key is sent to no file host.

        Args:
            task: its record, outcome, id or ref; an id is polled first.
            stem: its name, such as "vocal".
            max_bytes: how large it may be, at least 1; a larger one is not read.
            patience: see `DownloadOptions`; None is a minute.
            min_bytes_per_minute: see `DownloadOptions`. Only waiting for the host counts, not what
                the reader does between two chunks.

        Raises:
            InvalidArgumentError: an argument is unusable; nothing was sent.
        """
        named = _arguments.text(stem, "stem")
        size = _validation.at_least_one(max_bytes, "max_bytes")
        bounds = Patience(
            seconds=checked_patience(patience),
            min_bytes_per_minute=checked_min_bytes(min_bytes_per_minute),
        )
        return self._engines.elsewhere().downloader.stream(task, named, size, bounds)

    async def upload(
        self,
        file: Uploadable,
        *,
        name: str | None = None,
        max_bytes: int = MAX_UPLOAD_BYTES,
        on_progress: OnUploadProgress | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the field's name for a whole call
    ) -> UploadedFile:
        """Upload a song, so that ``create_task(audio_url=uploaded.url)`` can separate it.

        Uploads are free, and no slot of the rate limit is used. **The key is sent to the upload
        host**, and the link that comes back is public for three days. A try that fails is repeated
        as the client's `RetryPolicy` says, under another name that cannot be guessed; one that
        makes no progress for a minute has failed.

        Args:
            file: the path of a file, its bytes, or a stream of them, sync or async. See
                `vocalsep_async.uploads`.
            name: what the file is called, as in "my song.mp3": its name at the host begins so.
                None shows nothing there but the suffix of the file.
            max_bytes: how large it may be, at least 1; a larger one is not sent.
            on_progress: called with an `UploadProgress`, ten times a second at most. An exception
                that it raises ends the call and is raised here.
            timeout: seconds for the whole call, all attempts; None for no limit, 0 sends nothing.

        Raises:
            ConfigurationError: no upload host is known for *base_url*; pass *upload_url*.
            InvalidArgumentError: an argument is unusable, or the file is missing, empty, too large
                or no file; nothing was sent.
            UploadError: the file could not be read, or changed while it was sent.
            RequestTimeoutError: time ran out.
            APIError: the upload host did not store the file.
            TransportError: no usable answer came back in any attempt; redirects are not followed.
            DecodeError: no attempt had an answer of an upload host.
            ClientClosedError: the client was closed.
        """
        _validation.plain_function(on_progress, "on_progress")
        plan = UploadPlan(
            file=file,
            name=None if name is None else _arguments.text(name, "name"),
            max_bytes=_validation.at_least_one(max_bytes, "max_bytes"),
            on_progress=on_progress,
            timeout=_validation.timeout(timeout),
        )
        return await self._engines.here().uploader.upload(plan)

    async def create_task(
        self,
        *,
        callback_url: str | None = None,
        source_task_id: str | None = None,
        audio_id: str | None = None,
        audio_url: str | None = None,
        type: SeparationTypeName | SeparationType = "separate_vocal",  # noqa: A002 - the API's word
        stem_name: str | None = None,
        journal: Journal | str | os.PathLike[str] | None = None,
    ) -> TaskRef:
        """Create a separation task. **Every call is billed**, even for the same song.

        It is therefore sent again only where the task cannot have been created: after throttling
        by the API itself (its own code in its envelope), or when no connection was made. Give
        either *source_task_id* with *audio_id*, or *audio_url*.

        Args:
            callback_url: where the API posts the result; waiting does not need it. None leaves it
                out where the provider allows that, and names an address that cannot exist
                (`vocalsep_async.providers.NO_CALLBACK_URL`) where it demands one.
            source_task_id: the music task that made the song.
            audio_id: which of its tracks.
            audio_url: URL of a song from elsewhere.
            type: what to make of the song.
            stem_name: the instrument for ``split_stem_advanced``; None leaves it out.
            journal: an open `Journal`, or the path of one. The request is written to it before it
                is sent, the id after it: if the program ends in between, `Journal.intents` shows
                it, and the task is not silently created again. None keeps no journal.

        Returns:
            The id, the type and the time of creation: what `wait_for_task` can use best. Also the
            route, where the provider shares its host with another one, and whether *callback_url*
            is the address of a receiver of this client, as `vocalsep_async.contrib` has them.

        Raises:
            InvalidArgumentError: an argument is unusable; nothing was sent.
            APIError: the API returned an error, and no id of a task in it.
            JournalError: the journal could not be written, before anything was sent or after.
            RateLimitedError: too many requests; without the API's envelope there is no second try.
            TransportError, DecodeError, ServerError, ClientClosedError: no usable answer came.

        A note on every error says so where the task may have been created all the same.
        """
        # Checked before the journal is opened, so that a wrong argument leaves no intent.
        callback_url, expects_callback = self._callback(callback_url)
        kind = separation_type(type)
        song = _arguments.song(source_task_id, audio_id, audio_url)
        request = self._setup.provider.creation_request(
            type=kind,
            callback_url=callback_url,
            stem_name=None if stem_name is None else _arguments.text(stem_name, "stem_name"),
            **song,
        )
        links = {link for link in (callback_url, song.get("audio_url")) if link is not None}
        creation = Creation(request, kind, links, expects_callback)
        return await self._engines.here().creator.create(creation, journal)

    def _callback(self, url: str | None) -> tuple[str | None, bool]:
        """A callback URL, checked, and whether it is the address of a receiver of this client."""
        if url is None:
            return None, False
        link = _arguments.link(url, "callback_url")
        return link, any(each.is_address(link) for each in tuple(self._receivers))

    async def separate(
        self,
        source: Song | Source,
        *,
        type: SeparationTypeName | SeparationType = "separate_vocal",  # noqa: A002 - the API's word
        stem_name: str | None = None,
        download_to: DownloadOptions | str | os.PathLike[str] | None = None,
        timeout: float | None = 900.0,  # noqa: ASYNC109 - the field's name for a whole wait
        journal: Journal | str | os.PathLike[str] | None = None,
        callback_url: str | None = None,
        label: str | None = None,
        on_uncertain: OnUncertain = "report",
    ) -> TaskOutcome:
        """Separate a song: upload it if it is a file, create its task, wait for it, save its stems.

        The creation is **billed**, and sent at most once: with a journal, even if the program ends
        at any point and the same call is made again. Concurrent calls for one song share its task.

        Args:
            source: the path of a file, an http(s) URL, bytes, ``(task id, audio id)``, or a `Song`.
            type: the kind of separation, unless the `Song` says so.
            stem_name: the instrument for ``split_stem_advanced``; None leaves it out.
            download_to: a directory in which its stems are saved, as ``song/vocal.mp3``, or
                `DownloadOptions`. None saves nothing.
            timeout: seconds for the wait, from the creation of the task; None waits without limit.
            journal: an open `Journal`, or the path of one, which remembers what was created. None
                keeps none: another run creates the task again.
            callback_url: as for `create_task`.
            label: the name of the song; None takes that of the `Song`.
            on_uncertain: what happens to a song whose task may exist, without its id being known;
                "create" may pay twice. See `vocalsep_async.songs`.

        Returns:
            The outcome, as in a batch: errors after the task exists are in `TaskOutcome.error` and
            `TaskOutcome.download_error`.

        Raises:
            InvalidArgumentError: an argument is unusable; nothing was sent.
            CreationUncertainError: the task may have been created.
            VocalSepError: there is no task; see `upload` and `create_task`.
            JournalError: the journal is unusable, or could not be written.
        """
        song = labelled(source, label)
        options = self._song_options(
            type=type,
            stem_name=stem_name,
            download_to=download_to,
            timeout=timeout,
            callback_url=callback_url,
            on_uncertain=on_uncertain,
        )
        return await self._engines.here().songs.separate(song, options, journal)

    def separate_many(
        self,
        sources: Songs,
        *,
        type: SeparationTypeName | SeparationType = "separate_vocal",  # noqa: A002 - the API's word
        stem_name: str | None = None,
        download_to: DownloadOptions | str | os.PathLike[str] | None = None,
        timeout: float | None = 900.0,
        journal: Journal | str | os.PathLike[str] | None = None,
        callback_url: str | None = None,
        max_pending: int | None = None,
        max_credits: float | None = None,
        resubmit: int = 0,
        on_uncertain: OnUncertain = "report",
        on_progress: OnSongProgress | None = None,
    ) -> SongRunner:
        """Separate many songs, and get each outcome as soon as it is known.

        Use it as ``async with client.separate_many(songs) as run`` and iterate over *run*. Each
        song is handled as by `separate`, and has one outcome; one that fails does not affect the
        others. A song given twice has two outcomes and one task. Two songs with one label are an
        error of the second one, before anything is sent for it. A rejected key or an empty account
        ends the creations: running tasks are waited for and saved, the other songs of a collection
        get a `NotBegunError`, an iterator is read no further, and a later run with the same journal
        continues there.

        Args:
            sources: paths, URLs, bytes, pairs of ids, or `Song` values, from an iterable or an
                async iterable. A collection is checked on entering the block; an iterator is read
                as songs can be begun, *max_pending* of them ahead.
            type: as for `separate`, and so are *stem_name*, *callback_url* and *on_uncertain*.
            stem_name: the instrument.
            download_to: as for `separate`; the template needs ``{task_id}`` or ``{label}``.
            timeout: seconds to wait for each task, from its creation; None waits without limit.
            journal: as for `separate`; the same call, made again, continues where this one stopped.
            callback_url: where the API posts the results.
            max_pending: songs under way at the same time, at least 1: creations come before polls
                while there are fewer. None derives it from the rate limit: 150 at 20 requests per
                10 s.
            max_credits: no creation begins that would exceed it, by the documented prices; one
                that may have been accepted counts. None for no limit.
            resubmit: how often a task that ends as GENERATE_AUDIO_FAILED is created again, from 0;
                **each is billed**.
            on_uncertain: what happens to a song whose task may exist.
            on_progress: called with a `SongProgress` whenever a song advances. An exception that it
                raises ends the run.

        Raises:
            InvalidArgumentError: an argument is unusable; nothing was sent.
            ConfigurationError: the client's event loop runs in another thread.
        """
        options = self._song_options(
            type=type,
            stem_name=stem_name,
            download_to=download_to,
            timeout=timeout,
            callback_url=callback_url,
            on_uncertain=on_uncertain,
            resubmit=resubmit,
            on_progress=on_progress,
            is_for_many=True,
        )
        run = run_options(max_pending=max_pending, max_credits=max_credits, journal=journal)
        engine = self._engines.elsewhere()
        return SongsRunner(engine.songs, songs(sources), options, run, engine.events)

    def _song_options(self, *, callback_url: str | None, **options: Any) -> SongOptions:
        url, expects_callback = self._callback(callback_url)
        return song_options(
            callback_url=url, expects_callback=expects_callback, policy=self._poll, **options
        )

    async def get_credits(self, *, timeout: float | None = None) -> float:  # noqa: ASYNC109
        """How many credits the account has left.

        Args:
            timeout: as in `get_task`.

        Raises:
            InvalidArgumentError: *timeout* is unusable; nothing was sent.
            RequestTimeoutError: time ran out; see `get_task`.
            APIError: the API returned an error.
            TransportError: no usable answer came back in any attempt.
            DecodeError: no attempt had an answer of this API.
            ClientClosedError: the client was closed.
        """
        timeout = _validation.timeout(timeout)
        return await self._engines.here().credits(timeout)

    @property
    def _engine(self) -> Engine:
        return self._engines.current()

    def _policy_or(self, poll: PollPolicy | None) -> PollPolicy:
        return self._poll if poll is None else _arguments.policy(poll)
