"""One exchange over HTTP: the only part of the core that knows aiohttp."""

from vocalsep_async.transport.files import FileReply, FileTransport
from vocalsep_async.transport.http import Reply, Request, Transport
from vocalsep_async.transport.key import ApiKey

__all__ = ["ApiKey", "FileReply", "FileTransport", "Reply", "Request", "Transport"]
