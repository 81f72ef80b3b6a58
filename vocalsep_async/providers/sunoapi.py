"""sunoapi.org, the default provider."""

from __future__ import annotations

from datetime import date

from vocalsep_async.models import SeparationType
from vocalsep_async.providers.base import COMMON_CODES, NO_CREDITS, THROTTLED, Price, Provider

_COPY = "a copy of docs.sunoapi.org"
_READ_ON = date(2026, 11, 30)

SUNOAPI = Provider(
    name="sunoapi",
    codes={**COMMON_CODES, 405: THROTTLED, 429: NO_CREDITS},
    credits_path="/api/v1/generate/credit",
    hosts=frozenset({"api.sunoapi.org", "apibox.erweima.ai"}),
    prices={
        SeparationType.SEPARATE_VOCAL: Price(10, _READ_ON, _COPY),
        SeparationType.SPLIT_STEM: Price(50, _READ_ON, _COPY),
    },
)
"""sunoapi.org, by its documentation of 2025 and 2026; never tried against the live service."""
