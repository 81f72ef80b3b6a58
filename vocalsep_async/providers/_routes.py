"""The routes of one client: the one of its provider, and the others that its host serves.

An id does not show the route of its task, so a ref has to name it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from attrs import evolve

from vocalsep_async._text import printable
from vocalsep_async.errors import InvalidArgumentError
from vocalsep_async.models import SeparationTask, TaskRef
from vocalsep_async.providers._built_in import BUILT_IN, is_at, provider_for
from vocalsep_async.providers._decoder import Decoder
from vocalsep_async.providers.base import Provider, Request
from vocalsep_async.providers.kie_jobs import KIE_JOBS
from vocalsep_async.providers.sunoapi import SUNOAPI

_OF_JOBS = frozenset({"state", "resultJson"})
"""Names that only the records of kie.ai's jobs have."""


class Routes:
    """The routes on which one client can poll.

    Args:
        provider: the client's.
        host: where its API is.
        built_in: the providers that may share its host.
    """

    def __init__(
        self, provider: Provider, host: str = "", built_in: Iterable[Provider] = BUILT_IN
    ) -> None:
        self.provider = provider
        self._host = host
        self._own = Decoder(provider, name_of(provider, built_in))
        self._others = {
            each.name: Decoder(each, each.name)
            for each in built_in
            if each.name != provider.name and _share_host(each, provider, host, built_in)
        }

    @property
    def name(self) -> str | None:
        """The route of the tasks that the client creates, as their refs name it."""
        return self._own.route

    def ref(self, task: str | TaskRef) -> TaskRef:
        """The ref of *task*, whose route is None if it is the client's own.

        Raises:
            InvalidArgumentError: the id is unusable, or the client cannot poll on that route.
        """
        ref = TaskRef.of(task)
        if ref.route is None or ref.route in self._others:
            return ref
        if ref.route == self.provider.name:
            return evolve(ref, route=None)
        raise InvalidArgumentError(
            f"task {printable(ref.task_id)!r} is on the route {printable(ref.route)!r}, which this "
            f"client cannot poll: it is one of {self.provider.name} at {self._host}. Make a client "
            "with the provider of that route and its base_url, or leave the route out"
        )

    def refs(self, task: str | TaskRef) -> list[TaskRef]:
        """The refs of *task* on each route that it may be on; one if it names its route.

        Raises:
            InvalidArgumentError: as for `ref`.
        """
        ref = self.ref(task)
        others = self._others if TaskRef.of(task).route is None else ()
        return [ref, *(evolve(ref, route=route) for route in others)]

    def decoder(self, route: str | None = None) -> Decoder:
        """The decoder for the answers of a route that `ref` accepted."""
        return self._own if route is None else self._others[route]

    def poll_request(self, task_id: str, route: str | None) -> Request:
        """The request that polls a task."""
        return self.decoder(route).provider.poll_request(task_id)

    def ended(self, ref: TaskRef, record: Any) -> SeparationTask:
        """Read a record again; without a status it has the one that its rest shows."""
        return self.decoder(ref.route).ended(ref, record)

    def recordable(self, ref: TaskRef, task: SeparationTask) -> SeparationTask | None:
        """The record *task* as one of a poll, which a journal can restore; None if none can.

        It need not come from a poll of this client: it may come from a callback.
        """
        return self.decoder(self.ref(ref).route).recordable(ref, task)

    def restored(self, ref: TaskRef, record: Any) -> SeparationTask:
        """Read the stored record of a task that had ended.

        Raises:
            DecodeError: it is no record, or one of a task that has not ended.
            InvalidArgumentError: the client cannot poll on the route of *ref*.
        """
        return self.decoder(self.ref(ref).route).restored(ref, record)


def name_of(provider: Provider, built_in: Iterable[Provider] = BUILT_IN) -> str | None:
    """The route of the provider's tasks; None if it shares its hosts with no other one."""
    shares = any(each.name != provider.name and each.hosts & provider.hosts for each in built_in)
    return provider.name if shares else None


def decoder_for(route: str | None, host: str) -> Decoder:
    """The decoder of a built-in provider: the one of that route or, without one, of *host*."""
    named = (each for each in BUILT_IN if each.name == route)
    return Decoder(next(named, provider_for(host)))


def callback_decoder(provider: Provider | None, data: Any) -> Decoder:
    """The decoder of a callback: the one of *provider* or, without one, of the shape of *data*."""
    is_of_jobs = isinstance(data, dict) and not _OF_JOBS.isdisjoint(data)
    shaped = provider or (KIE_JOBS if is_of_jobs else SUNOAPI)
    return Decoder(shaped, name_of(shaped))


def _share_host(
    each: Provider, provider: Provider, host: str, built_in: Iterable[Provider]
) -> bool:
    # At a known host its list decides; at a proxy or an emulator what the providers have in common.
    if any(is_at(known, host) for known in built_in):
        return is_at(each, host)
    return not each.hosts.isdisjoint(provider.hosts)
