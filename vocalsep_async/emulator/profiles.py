"""Where the providers' APIs differ: paths, codes, and names of fields."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from attrs import evolve, frozen

from vocalsep_async.emulator.tasks import FAILURE_MESSAGE, Failure


@frozen(kw_only=True)
class ProviderProfile:
    """One provider's paths, codes, and names.

    Attributes:
        credits_path: path that returns the remaining credits.
        bad_request: code for invalid parameters.
        no_credits: code for an empty account.
        throttle_codes: codes that may mean "too many requests", the usual one first.
        failures: what a callback may say of a failed task; the record says code 500 of each.
        callback_key: key of a callback's ``data`` that holds the stems.
        url_keys: keys of a record's ``response`` that are null for every type of separation.
        credits_type: type in which a number of credits is printed.
        has_jobs: whether the jobs route is served beside the older one.
        adds_jobs: whether a task that no request created is on that route.
    """

    credits_path: str
    bad_request: int
    no_credits: int
    throttle_codes: tuple[int, ...]
    failures: tuple[Failure, ...]
    callback_key: str
    url_keys: tuple[str, ...]
    credits_type: type[Any]
    has_jobs: bool = False
    adds_jobs: bool = False


_KIE = ProviderProfile(
    credits_path="/api/v1/chat/credit",
    bad_request=422,
    no_credits=402,
    throttle_codes=(429, 430),
    failures=(
        (400, "The audio was rejected."),
        (408, "The separation took too long."),
        (413, "The audio matches an existing work."),
        (500, FAILURE_MESSAGE),
        (501, "The separation has failed."),
        (531, "The separation has failed, the credits were returned."),
    ),
    callback_key="vocal_separation_info",
    url_keys=("originUrl", "pianoUrl"),
    credits_type=float,
    has_jobs=True,
)
PROFILES: Mapping[str, ProviderProfile] = MappingProxyType(
    {
        "sunoapi": ProviderProfile(
            credits_path="/api/v1/generate/credit",
            bad_request=400,
            no_credits=429,
            throttle_codes=(430, 405),
            failures=(
                (400, "The format of the audio is not supported."),
                (451, "The audio could not be downloaded."),
                (500, FAILURE_MESSAGE),
            ),
            callback_key="vocal_removal_info",
            url_keys=("originUrl",),
            credits_type=int,
        ),
        "kie": _KIE,
        "kie_jobs": evolve(_KIE, adds_jobs=True),
    }
)
"""The profile of each provider, by the provider's name."""
