"""The providers of the API, one file each: all that differs between them.

A `Provider` builds the requests and knows what answers mean. These go through three steps:
`_envelope` turns bytes into the payload or an error, `_records` turns a payload into a model,
`_decoder` does both for each endpoint, as the provider says.
"""

from vocalsep_async.providers.base import (
    COMMON_CODES,
    NO_CREDITS,
    THROTTLED,
    ErrorRule,
    Provider,
    Request,
)
from vocalsep_async.providers.kie import KIE
from vocalsep_async.providers.sunoapi import SUNOAPI

__all__ = [
    "COMMON_CODES",
    "KIE",
    "NO_CREDITS",
    "SUNOAPI",
    "THROTTLED",
    "ErrorRule",
    "Provider",
    "Request",
    "provider_for",
]


def provider_for(host: str) -> Provider:
    """The built-in provider that *host* belongs to; `SUNOAPI` for hosts that are not listed."""
    return next((each for each in (SUNOAPI, KIE) if host.lower() in each.hosts), SUNOAPI)
