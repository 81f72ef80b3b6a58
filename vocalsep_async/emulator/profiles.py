"""What the two providers do differently."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from attrs import frozen


@frozen(kw_only=True)
class ProviderProfile:
    """One provider's codes and words.

    Attributes:
        credits_path: where the remaining credits are asked for.
        bad_request: the code for parameters that are refused.
        no_credits: the code for an empty account.
        refuse_codes: the codes that may mean "too many requests"; the usual one first.
        callback_key: under which name a callback carries the stems.
        url_keys: keys of a record's ``response`` that stay null here whatever the type.
        credits_type: how a number of credits is printed.
    """

    credits_path: str
    bad_request: int
    no_credits: int
    throttle_codes: tuple[int, ...]
    callback_key: str
    url_keys: tuple[str, ...]
    credits_type: type[Any]


PROFILES: Mapping[str, ProviderProfile] = MappingProxyType(
    {
        "sunoapi": ProviderProfile(
            credits_path="/api/v1/generate/credit",
            bad_request=400,
            no_credits=429,
            throttle_codes=(430, 405),
            callback_key="vocal_removal_info",
            url_keys=("originUrl",),
            credits_type=int,
        ),
        "kie": ProviderProfile(
            credits_path="/api/v1/chat/credit",
            bad_request=422,
            no_credits=402,
            throttle_codes=(429, 430),
            callback_key="vocal_separation_info",
            url_keys=("originUrl", "pianoUrl"),
            credits_type=float,
        ),
    }
)
"""Those of each dialect, by its name."""
