"""A server on this machine that speaks the API, for tests and for trying things out.

It was written from public documents and was never compared with the live service: where it
and the service differ, the service is right.

    async with Emulator(speed=60) as emulator:
        client = VocalSepClient("any-key", base_url=emulator.url)

It keeps tasks, takes credits, refuses callers that ask too often, posts callbacks and serves
real audio under links that expire. Trouble comes on demand, see `Fault`. It listens on
127.0.0.1 only and posts callbacks to loopback addresses only, so a test cannot reach anybody
by mistake; other callback URLs are accepted and never called. It takes whatever song a task
names for its own: a synthetic one of six seconds whose stems add up exactly.

``python -m vocalsep_async.emulator --help`` runs it from a shell, and the pytest fixture
``vocalsep_emulator`` runs it for a test.
"""

from vocalsep_async.emulator.emulator import Emulator
from vocalsep_async.emulator.faults import Fault
from vocalsep_async.emulator.request_log import RequestRecord

__all__ = ("Emulator", "Fault", "RequestRecord")
