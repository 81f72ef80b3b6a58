"""A local server that emulates the API of sunoapi.org or kie.ai, for tests and experiments.

It was written from public documents and was never compared with the live services: where they
differ, the live service is right::

    async with Emulator(speed=60) as emulator, emulator.client() as client:
        uploaded = await client.upload("song.mp3")

It keeps uploads, runs tasks, charges credits, enforces the rate limit, posts callbacks, and serves
real audio under links that expire. Faults can be injected on demand, see `Fault` and `UploadFault`
for requests and `CallbackFaults` for callbacks. It listens on 127.0.0.1 only and posts callbacks to
loopback addresses only, so that a test cannot reach another machine by mistake; other callback URLs
are accepted and never called. Whatever audio a task names, its stems are those of one synthetic
song of six seconds, and add up to it exactly.

``python -m vocalsep_async.emulator --help`` runs it from a shell. The pytest fixtures
``vocalsep_emulator`` and ``vocalsep_client`` run it for a test, with a client that has the
`fast_settings`.
"""

from vocalsep_async.emulator.callback_faults import CallbackFaults, CallbackKind
from vocalsep_async.emulator.callback_log import CallbackRecord
from vocalsep_async.emulator.emulator import Emulator
from vocalsep_async.emulator.fast import fast_settings
from vocalsep_async.emulator.faults import Fault, UploadFault
from vocalsep_async.emulator.request_log import RequestRecord

__all__ = (
    "CallbackFaults",
    "CallbackKind",
    "CallbackRecord",
    "Emulator",
    "Fault",
    "RequestRecord",
    "UploadFault",
    "fast_settings",
)
