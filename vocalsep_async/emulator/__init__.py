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

``python -m vocalsep_async.emulator --help`` runs it from a shell, and the pytest fixture
``vocalsep_emulator`` runs it for a test.
"""

from vocalsep_async.emulator.callback_faults import CallbackFaults, CallbackKind
from vocalsep_async.emulator.callback_log import CallbackRecord
from vocalsep_async.emulator.emulator import Emulator
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
)
