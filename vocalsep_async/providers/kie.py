"""kie.ai, on the older of its two routes."""

from __future__ import annotations

from datetime import date

from vocalsep_async.models import SeparationType
from vocalsep_async.providers.base import COMMON_CODES, NO_CREDITS, THROTTLED, Price, Provider

_PAGE = "docs.kie.ai, the page of the separation"
_READ_ON = date(2026, 11, 30)

KIE = Provider(
    name="kie",
    codes={**COMMON_CODES, 402: NO_CREDITS, 429: THROTTLED, 433: NO_CREDITS},
    credits_path="/api/v1/chat/credit",
    hosts=frozenset({"api.kie.ai"}),
    prices={
        SeparationType.SEPARATE_VOCAL: Price(10, _READ_ON, _PAGE),
        SeparationType.SPLIT_STEM: Price(50, _READ_ON, _PAGE),
        SeparationType.SPLIT_STEM_ADVANCED: Price(20, _READ_ON, _PAGE),
    },
)
"""kie.ai, by its documentation of 2025 and 2026; never tried against the live service."""
