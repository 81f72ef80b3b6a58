"""`Engine`: the parts of a client that belong to one event loop, put together."""

from __future__ import annotations

import asyncio
import os
import threading
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from ssl import SSLContext
from typing import TYPE_CHECKING

import aiohttp
import anyio
from attrs import frozen
from yarl import URL

from vocalsep_async._accounts import ACCOUNTS, Account, Identity, Lease, contradiction
from vocalsep_async._batch.delivery import Save
from vocalsep_async._batch.runner import recorder_in
from vocalsep_async._binding import LoopBinding
from vocalsep_async._creation import TaskCreator
from vocalsep_async._downloads.downloader import Downloader
from vocalsep_async._downloads.plan import DownloadPlan
from vocalsep_async._events import Events
from vocalsep_async._failures import may_help
from vocalsep_async._journals import OpenJournals
from vocalsep_async._learned import Learner
from vocalsep_async._polling.memory import PollMemory
from vocalsep_async._polling.poller import Poller
from vocalsep_async._request_queue import RequestQueue
from vocalsep_async._scheduling.hazards import HazardTable
from vocalsep_async._sender import RequestSender
from vocalsep_async._songs.separation import Parts, Separations
from vocalsep_async._transport.addresses import AddressRules
from vocalsep_async._transport.api import Transport
from vocalsep_async._transport.files import FileTransport
from vocalsep_async._transport.proxies import Proxies
from vocalsep_async._transport.secrets import ApiKey
from vocalsep_async._uploads.uploader import Uploader
from vocalsep_async.downloads import DownloadOptions
from vocalsep_async.instrumentation import EventListener
from vocalsep_async.journal import Journal
from vocalsep_async.limiter import Limiter, RateLimiter
from vocalsep_async.models import ClientStats
from vocalsep_async.policies import RateLimit, RetryPolicy
from vocalsep_async.providers import Provider
from vocalsep_async.providers._routes import Routes

if TYPE_CHECKING:
    from vocalsep_async._batch.recorder import BatchRecorder


@frozen(kw_only=True, repr=False, eq=False)
class Setup:
    """What a client was made with, checked; `VocalSepClient` says what it means."""

    base_url: URL
    upload_url: URL | None
    key: ApiKey
    provider: Provider
    rate_limit: RateLimit | None
    limiter: Limiter
    shared: RateLimiter | None
    """The limiter, if it shares the budget of the account; None if it is the user's own."""
    request_timeout: float
    retry: RetryPolicy
    rules: AddressRules | None
    session: aiohttp.ClientSession | None
    trace_configs: Sequence[aiohttp.TraceConfig]
    proxies: Proxies
    tls: SSLContext | None
    user_agent: str
    listeners: list[EventListener]

    def account(self) -> Identity:
        """The account that the client uses."""
        host = (self.base_url.host or "").rstrip(".")
        return Identity(host, self.base_url.port, self.key.digest())


class Engine:
    """Sends, polls, creates and downloads for one client, in one event loop.

    Args:
        setup: what the client was made with.
        routes: of the client.
        memory: what its polls have shown so far.
        before: the client's engine in an event loop that was closed; None if there was none.
    """

    def __init__(
        self, setup: Setup, routes: Routes, memory: PollMemory, before: Engine | None = None
    ) -> None:
        self._setup = setup
        self._memory = memory
        self._base_url = str(setup.base_url)
        self._before = before
        self.lease: Lease | None = None
        """Of the account; None before the engine is bound."""
        self.sharing = ExitStack()
        """Ends what it shares with other clients of the account."""
        self.routes = routes
        self.events = Events(setup.listeners)
        self.transport = Transport(
            setup.base_url,
            setup.key,
            request_timeout=setup.request_timeout,
            user_agent=setup.user_agent,
            session=setup.session,
            trace_configs=setup.trace_configs,
            proxy=setup.proxies.for_url(setup.base_url),
            tls=setup.tls,
        )
        self.files = FileTransport(
            setup.base_url,
            user_agent=setup.user_agent,
            read_timeout=setup.request_timeout,
            rules=setup.rules,
            proxies=setup.proxies,
            tls=setup.tls,
        )
        self.binding: LoopBinding = LoopBinding(
            self.transport.loop,
            None if before is None else before.binding.loop,
            self._on_bind,
        )
        queue = RequestQueue(setup.limiter, self.events)
        if before is not None:
            queue.keep(before.sender.queue)
        self.sender: RequestSender = RequestSender(
            queue,
            self.transport,
            setup.retry,
            self.events,
            binding=self.binding,
            request_timeout=setup.request_timeout,
        )
        self.journals = OpenJournals(self.events)
        self.creator = TaskCreator(self.sender, routes, self._base_url, self.journals)
        self.poller = Poller(self.sender, routes, memory)
        self.downloader = Downloader(
            self.files, self.poller.poll_with_retries, setup.retry, self.events, self.binding
        )
        self.uploader = Uploader(
            None if setup.upload_url is None else partial(self._to_uploads, setup.upload_url),
            setup.provider,
            setup.retry,
            self.events,
        )

        self.songs = Separations(
            Parts(
                provider=setup.provider,
                creator=self.creator,
                poller=self.poller,
                downloader=self.downloader,
                uploader=self.uploader,
                journals=self.journals,
                base_url=self._base_url,
            )
        )

    def _to_uploads(self, url: URL) -> Transport:
        """What sends requests to the upload host; never with a borrowed session."""
        setup = self._setup
        return Transport(
            url,
            setup.key,
            request_timeout=setup.request_timeout,
            user_agent=setup.user_agent,
            proxy=setup.proxies.for_url(url),
            tls=setup.tls,
            address="upload_url",
        )

    def _on_bind(self, shift: float) -> None:
        """The clock of this event loop is *shift* seconds ahead of that of the one before."""
        before = self._before
        used = None if before is None else before.lease
        self.lease = lease = ACCOUNTS.join(self._setup.account(), used, shift)
        if before is not None:
            self._memory.move(shift)
            before.sharing.close()
        learner = Learner(lease.account.durations, self.poller.hazards, self.poller.wake)
        self.sharing.callback(lease.release)
        self.sharing.callback(learner.leave)
        self._setup.limiter._share_durations(  # noqa: SLF001 - not for users
            lease.account.durations, self._setup.provider.name
        )
        if self._setup.shared is not None:
            self._share(self._setup.shared, lease.account)
        elif before is not None:
            self._setup.limiter.move(shift)
        self._before = None

    def _share(self, limiter: RateLimiter, account: Account) -> None:
        limit = self._setup.rate_limit
        limiter._share(account.budget(limit))  # noqa: SLF001 - not for users
        others = account.others(limit, asyncio.get_running_loop().time())
        if others:
            warnings.warn(contradiction(self._base_url, limit, others), UserWarning, stacklevel=2)

    @property
    def needs_closing(self) -> bool:
        """Whether a session that was made here is still open."""
        parts = (self.transport, self.files, self.uploader)
        return any(part.needs_closing for part in parts)

    def stats(self) -> ClientStats:
        """What the client has done so far.

        Raises:
            ConfigurationError: the caller is not in the client's event loop.
        """
        if self.binding.is_unused:
            self.binding.check()
        else:
            self.binding.bind()
        now, limiter = asyncio.get_running_loop().time(), self.sender.queue.limiter.snapshot()
        return ClientStats(
            requests=limiter.sent,
            throttled=limiter.throttled,
            in_flight=limiter.in_flight,
            rate=limiter.rate,
            paused_for=max(0.0, (limiter.paused_until or now) - now),
        )

    async def credits(
        self,
        timeout: float | None,  # noqa: ASYNC109 - the field's name for a whole call
    ) -> float:
        """Request the credits of the account; see `VocalSepClient.get_credits`."""
        request, decode = self._setup.provider.credits_request(), self.routes.decoder().credits
        return await self.sender.send_with_retries(
            request,
            lambda slot, _: self.sender.send(slot, request, decode),
            may_help,
            timeout,
        )

    def saving_to(self, to: DownloadOptions | str | os.PathLike[str]) -> Save:
        """What saves the stems of each task of a batch in *to*."""
        options = to if isinstance(to, DownloadOptions) else DownloadOptions(to)
        return partial(self.downloader.save_present, plan=DownloadPlan.of_batch(options))

    def recorder_in(self, journal: Journal | str | os.PathLike[str]) -> BatchRecorder:
        """A recorder in *journal*, for one batch."""
        return recorder_in(
            journal,
            base_url=self._base_url,
            hazards=self.poller.hazards,
            restore=self.routes.restored,
            events=self.events,
        )

    async def aclose(self) -> None:
        """End the calls under way with `ClientClosedError`; may be called again.

        A closed engine is for every event loop, and does nothing more.
        """
        # Shielded, so that sockets are closed even when the caller is cancelled.
        with anyio.CancelScope(shield=True):
            # First, so that waits end with its error and not with that of a closed session.
            await self.poller.aclose()
            self.downloader.close()
            await self.uploader.aclose()
            await self.files.aclose()
            await self.transport.aclose()
            # Last: every request has reported to the limiter how it ended.
            await self.sender.queue.aclose()
        self.sharing.close()
        self.events.close()
        self.binding.release()

    def abandon(self) -> None:
        """Let go of the sessions, whose event loop was closed."""
        self.transport.abandon()
        self.files.abandon()
        self.uploader.abandon()
        self.events.close()


class Engines:
    """The engine of a client, made anew whenever the event loop of the last one was closed.

    Waits, polls, queued requests and connections end with their loop. What was learned stays, and
    so does the budget of the limiter.

    Args:
        setup: what the client was made with.
        hazards: what it knows about durations.
    """

    def __init__(self, setup: Setup, hazards: HazardTable) -> None:
        self._setup = setup
        self._routes = Routes(setup.provider, setup.base_url.host or "")
        self._memory = PollMemory(self._routes, hazards)
        self._engine = Engine(setup, self._routes, self._memory)
        # Two threads may find simultaneously that the loop was closed.
        self._renewing = threading.Lock()

    def current(self) -> Engine:
        """The engine, bound to a loop or not."""
        with self._renewing:
            if self._engine.binding.may_move:
                self._engine.abandon()
                self._engine = Engine(self._setup, self._routes, self._memory, self._engine)
            return self._engine

    def here(self) -> Engine:
        """The engine, bound to the running event loop.

        Raises:
            ConfigurationError: the client cannot be used in this event loop.
        """
        engine = self.current()
        engine.binding.bind()
        return engine

    def reachable(self) -> asyncio.AbstractEventLoop:
        """The event loop in which the client is open, for a call from any loop or thread.

        Raises:
            ConfigurationError: the client is open in no event loop of this process.
        """
        return self.current().binding.reachable()

    def elsewhere(self) -> Engine:
        """The engine, for what does not run yet and needs no running loop.

        Raises:
            ConfigurationError: the client's event loop runs in another thread.
        """
        engine = self.current()
        engine.binding.check_thread()
        return engine

    def listen(self, listener: EventListener) -> None:
        """Hand the events from now on to *listener*, too, in all event loops."""
        with self._renewing:
            self._setup.listeners.append(listener)
            self._engine.events.add(listener)

    def unlisten(self, listener: EventListener) -> None:
        """Hand no more events to *listener*."""
        with self._renewing:
            # Listeners may be equal, such as lists that count.
            others = [each for each in self._setup.listeners if each is not listener]
            self._setup.listeners[:] = others
            self._engine.events.remove(listener)

    @property
    def is_closed(self) -> bool:
        """Whether the client was closed; may be read in any thread."""
        return self._engine.sender.queue.is_closed

    def leave(self) -> bool:
        """Let go of a closed event loop; whether sessions are left that can still be closed."""
        if self._engine.binding.may_move:
            self._engine.abandon()
            return False
        return self._engine.needs_closing
