"""kie.ai, on the older of its two routes."""

from __future__ import annotations

from vocalsep_async.providers.base import COMMON_CODES, NO_CREDITS, THROTTLED, Provider

KIE = Provider(
    name="kie",
    codes={**COMMON_CODES, 402: NO_CREDITS, 429: THROTTLED, 433: NO_CREDITS},
    credits_path="/api/v1/chat/credit",
    hosts=frozenset({"api.kie.ai"}),
)
"""kie.ai, by its documentation of 2025 and 2026; never tried against the live service."""
