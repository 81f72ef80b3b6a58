"""The built-in providers, and which of them a host belongs to."""

from __future__ import annotations

from vocalsep_async.providers.apikley import APIKLEY
from vocalsep_async.providers.base import Provider
from vocalsep_async.providers.kie import KIE
from vocalsep_async.providers.kie_jobs import KIE_JOBS
from vocalsep_async.providers.sunoapi import SUNOAPI

BUILT_IN = (SUNOAPI, KIE, APIKLEY, KIE_JOBS)
"""In the order in which `provider_for` searches: of two at one host, the first is found."""


def provider_for(host: str) -> Provider:
    """The built-in provider that *host* belongs to; `SUNOAPI` for hosts that are not listed."""
    return next((each for each in BUILT_IN if is_at(each, host)), SUNOAPI)


def is_at(provider: Provider, host: str) -> bool:
    """Whether *host* is one of the provider's, or one of the same domain."""
    name = host.lower().rstrip(".")
    return any(name == each or _domain(name) == _domain(each) for each in provider.hosts)


def _domain(host: str) -> str:
    """The domain of a host such as api.kie.ai; a shorter name as it is."""
    return ".".join(host.split(".")[-2:])
