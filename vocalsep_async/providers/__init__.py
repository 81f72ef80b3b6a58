"""The providers of the API, one file each: all that differs between them.

A `Provider` builds the requests and knows what answers mean. These go through three steps:
``_envelope`` turns bytes into the payload or an error, ``_records`` turns a payload into a model,
``_decoder`` does both for each endpoint, as the provider says.
"""

from vocalsep_async.providers._built_in import provider_for
from vocalsep_async.providers.apikley import APIKLEY
from vocalsep_async.providers.base import (
    COMMON_CODES,
    NO_CALLBACK_URL,
    NO_CREDITS,
    THROTTLED,
    ErrorRule,
    Price,
    Provider,
    Request,
)
from vocalsep_async.providers.kie import KIE
from vocalsep_async.providers.kie_jobs import KIE_JOBS
from vocalsep_async.providers.sunoapi import SUNOAPI

__all__ = [
    "APIKLEY",
    "COMMON_CODES",
    "KIE",
    "KIE_JOBS",
    "NO_CALLBACK_URL",
    "NO_CREDITS",
    "SUNOAPI",
    "THROTTLED",
    "ErrorRule",
    "Price",
    "Provider",
    "Request",
    "provider_for",
]
