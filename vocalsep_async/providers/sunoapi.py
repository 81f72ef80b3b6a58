"""sunoapi.org, the default provider."""

from __future__ import annotations

from vocalsep_async.providers.base import COMMON_CODES, NO_CREDITS, THROTTLED, Provider

SUNOAPI = Provider(
    name="sunoapi",
    codes={**COMMON_CODES, 405: THROTTLED, 429: NO_CREDITS},
    credits_path="/api/v1/generate/credit",
    hosts=frozenset({"api.sunoapi.org", "apibox.erweima.ai"}),
)
"""sunoapi.org, by its documentation of 2025 and 2026; never tried against the live service."""
