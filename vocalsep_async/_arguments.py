"""Checks of what users pass to the client, made before any request is sent."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from ssl import CERT_NONE, SSLContext
from typing import TypedDict
from urllib.request import getproxies_environment

from yarl import URL

from vocalsep_async._logging import LEVELS
from vocalsep_async._text import MaskedLink, printable
from vocalsep_async._transport.addresses import AddressRules, Network
from vocalsep_async._version import __version__
from vocalsep_async.errors import ConfigurationError, InvalidArgumentError
from vocalsep_async.limiter import Limiter
from vocalsep_async.models import SeparationType, TaskRef, separation_type
from vocalsep_async.policies import PollPolicy, RateLimit
from vocalsep_async.providers._uploads import upload_url_for

KEY_VARIABLE = "VOCALSEP_API_KEY"
BASE_URL_VARIABLE = "VOCALSEP_BASE_URL"
LOG_VARIABLE = "VOCALSEP_LOG"
UPLOAD_URL_VARIABLE = "VOCALSEP_UPLOAD_URL"
DEFAULT_BASE_URL = "https://api.sunoapi.org"
_PROXY_EXAMPLE = "http://proxy.example.com:8080"


class Song(TypedDict, total=False):
    """The arguments of `create_task` that name a song."""

    source_task_id: str
    audio_id: str
    audio_url: str


@contextmanager
def setting_up() -> Iterator[None]:
    """Run the checks of a constructor: a wrong argument there is an error of the set-up.

    Raises:
        ConfigurationError: an argument is unusable.
    """
    try:
        yield
    except InvalidArgumentError as error:
        raise ConfigurationError(str(error)) from None


def base_url(value: object, name: str = "base_url") -> URL:
    """Check the address of an API: http(s), a host, perhaps a port and a path."""
    url = _http_url(value, name)
    if url.user is not None or url.password is not None:
        raise InvalidArgumentError(
            f"{name} must not contain a user or password; the key is api_key or {KEY_VARIABLE}"
        )
    # The paths of requests are appended to the address as text.
    if url.raw_query_string or url.raw_fragment:
        raise InvalidArgumentError(f"{name} must end before any ? or #")
    return url


def upload_url(value: object, name: str = "upload_url") -> URL:
    """Check the address of an upload host, which gets the key: over TLS, or on this machine."""
    url = base_url(value, name)
    if url.scheme != "https" and not _is_loopback(url.host or ""):
        raise InvalidArgumentError(
            f"{name} must begin with https:// unless it is on this machine: the key is sent there"
        )
    return url


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.rstrip(".").lower() == "localhost"


def proxies(value: object, *, trust_env: bool) -> tuple[dict[str, URL], str]:
    """Check the address of an HTTP proxy, or else find those that the environment names.

    Returns:
        The proxy for each scheme of a request, and the hosts that need none, as ``NO_PROXY`` lists
        them.

    Raises:
        InvalidArgumentError: a proxy that would be used is none that this package can use.
    """
    if value is not None:
        url = _proxy(value, "proxy")
        return {"http": url, "https": url}, ""
    return _proxies_in_environment() if trust_env else ({}, "")


def _proxies_in_environment() -> tuple[dict[str, URL], str]:
    # Only variables: settings of the system may name hosts that a name server must be asked about.
    values = getproxies_environment()
    exceptions = values.get("no", "")
    if exceptions.strip() == "*":
        return {}, exceptions
    chosen = {scheme: scheme if scheme in values else "all" for scheme in ("http", "https")}
    return {
        scheme: _proxy_in(f"{name}_proxy", values[name])
        for scheme, name in chosen.items()
        if name in values
    }, exceptions


def _proxy_in(variable: str, value: str) -> URL:
    # The lower case wins, as in the standard library.
    shown = variable if os.environ.get(variable) else variable.upper()
    # Programs such as curl take an address without a scheme, too.
    address = value.strip() if "://" in value else f"http://{value.strip()}"
    return _proxy(address, f"the environment variable {shown}")


def _proxy(value: object, name: str) -> URL:
    if str(value).lower().startswith("socks"):
        raise InvalidArgumentError(
            f"{name} names a SOCKS proxy, which is not supported: name an HTTP proxy, such as "
            f"{_PROXY_EXAMPLE}"
        )
    return _http_url(value, name, _PROXY_EXAMPLE)


def address_rules(value: object) -> AddressRules | None:
    """Check where files may be fetched from; None for everywhere."""
    if isinstance(value, bool):
        return None if value else AddressRules()
    # These are iterable, too: a string has characters, and a network all its addresses.
    is_single = isinstance(value, (str, bytes, IPv4Network, IPv6Network))
    if is_single or not isinstance(value, Iterable):
        raise InvalidArgumentError(
            "allow_private_hosts must be True, False or networks, as in ('198.18.0.0/15',), "
            f"not {value!r}"
        )
    return AddressRules(tuple(map(_network, value)))


def _network(value: object) -> Network:
    if isinstance(value, (IPv4Network, IPv6Network)):
        return value
    # Numbers would pass for addresses.
    text = value.strip() if isinstance(value, str) else ""
    problem = "is not a network such as '198.18.0.0/15'"
    with suppress(ValueError):
        network = ip_network(text, strict=False)
        if text.partition("/")[0] == str(network.network_address) or network.num_addresses == 1:
            return network
        problem = f"has bits beyond its prefix; did you mean '{network}'?"
    raise InvalidArgumentError(f"allow_private_hosts: {printable(repr(value))} {problem}")


def tls(value: object) -> SSLContext | None:
    """Check the context for TLS connections; None for the default one."""
    if value is None:
        return None
    advice = (
        "to trust another authority, pass a context that has it, as in "
        "ssl=ssl.create_default_context(cafile='ca.pem')"
    )
    if not isinstance(value, SSLContext):
        raise InvalidArgumentError(
            f"ssl must be an ssl.SSLContext or None, not {type(value).__name__}; {advice}"
        )
    # The key, and links that are secrets, would be sent to whatever answers.
    if value.verify_mode == CERT_NONE:
        raise InvalidArgumentError(f"ssl must be a context that checks certificates; {advice}")
    return value


def limiter(value: Limiter | None, limit: RateLimit | None) -> Limiter | None:
    """Check a client's limiter and rate limit."""
    instance(limit, "rate_limit", (RateLimit, type(None)))
    instance(value, "limiter", (Limiter, type(None)))
    if not isinstance(value, Limiter):
        return None
    if limit != RateLimit():
        raise InvalidArgumentError("pass rate_limit or limiter: a limiter has a limit of its own")
    if value.on_pause is not None:
        raise InvalidArgumentError("the limiter belongs to a client; make one for each client")
    return value


def link(value: object, name: str) -> str:
    """Check a URL that the API is asked to use."""
    # Local files are not uploaded: the API fetches the song, and calls the webhook, itself.
    _http_url(value, name, "https://example.com/song.mp3")
    return MaskedLink(value)


def callback_address(value: object, name: str) -> None:
    """Check an address that the API is asked to call."""
    _http_url(value, name, "https://example.com/callbacks")


def _http_url(value: object, name: str, example: str = "https://api.example.com") -> URL:
    if not isinstance(value, (str, URL)):
        raise InvalidArgumentError(f"{name} must be a URL, not {type(value).__name__}")
    try:
        url = URL(value)
        usable = url.scheme in ("http", "https") and bool(url.host) and url.port is not None
        # The resolver encodes the host like this, and would fail only at the first request.
        (url.raw_host or "").encode("idna")
    except (ValueError, IndexError):  # yarl has an IndexError for "http://[]@"
        usable = False
    if not usable:
        # The value is not shown: a mistyped URL may hold a password.
        raise InvalidArgumentError(f"{name} must be a URL such as {example}")
    return url


def user_agent(value: object) -> str:
    """Check the User-Agent header; None for the name and version of the package."""
    if value is None:
        return f"vocalsep-async/{__version__}"
    if not isinstance(value, str) or not value.strip():
        raise InvalidArgumentError("user_agent must be a non-empty string")
    # A line break would begin another header.
    if not (value.isascii() and value.isprintable()):
        raise InvalidArgumentError("user_agent must be printable ASCII, in one line")
    return value


def text(value: object, name: str) -> str:
    """Check a word that is sent to the API."""
    if not isinstance(value, str) or not value.strip():
        raise InvalidArgumentError(f"{name} must be a non-empty string")
    return value


def instance(value: object, name: str, kind: type | tuple[type, ...]) -> None:
    """Check that an option is what it has to be."""
    if not isinstance(value, kind):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        names = ("None" if each is type(None) else each.__name__ for each in kinds)
        wanted = " or ".join(names)
        raise InvalidArgumentError(f"{name} must be a {wanted}, not {type(value).__name__}")


def callback(value: object) -> None:
    """Check what is to be called back; None for nothing."""
    if value is not None and not callable(value):
        raise InvalidArgumentError(f"on_update must be callable, not {type(value).__name__}")


def policy(poll: PollPolicy) -> PollPolicy:
    """Check a poll policy."""
    # A class without its parentheses has the method too.
    if isinstance(poll, type) or not callable(getattr(poll, "delay", None)):
        raise InvalidArgumentError(
            f"poll must be a poll policy such as Adaptive() or Interval(5), not {poll!r}"
        )
    return poll


def many(
    tasks: Iterable[str | TaskRef] | AsyncIterable[str | TaskRef], call: str
) -> Iterable[str | TaskRef] | AsyncIterable[str | TaskRef]:
    """Check that *tasks* can hold many ids; *call* is what they were passed to."""
    # A string is iterable: each of its characters would pass for an id.
    if isinstance(tasks, (str, bytes, TaskRef)):
        raise InvalidArgumentError(
            f"{call}() takes many ids: pass a list, as in {call}([task_id]), "
            "or use wait_for_task(task_id)"
        )
    if not isinstance(tasks, (Iterable, AsyncIterable)):
        raise InvalidArgumentError(f"tasks must be ids to iterate over, not {type(tasks).__name__}")
    return tasks


async def refs(
    tasks: Iterable[str | TaskRef] | AsyncIterable[str | TaskRef],
    type_: SeparationType | str | None,
) -> list[TaskRef]:
    """Check the ids and refs of many tasks; two for the same task become one."""
    many(tasks, "wait_for_tasks")
    kind = separation_type(type_)
    if isinstance(tasks, AsyncIterable):
        given = [TaskRef.of(task) async for task in tasks]
    else:
        given = [TaskRef.of(task) for task in tasks]
    both: dict[str, TaskRef] = {}
    for ref in given:
        # Two refs of one task may each know what the other does not.
        both[ref.task_id] = merged(both.get(ref.task_id, ref), ref)
    return [ref.merged(TaskRef(ref.task_id, type=kind)) for ref in both.values()]


def merged(one: TaskRef, other: TaskRef) -> TaskRef:
    """What two refs of one task know together.

    Raises:
        InvalidArgumentError: they have different labels.
    """
    if one.label and other.label and one.label != other.label:
        raise InvalidArgumentError(
            f"task {printable(one.task_id)!r} has two labels, {printable(one.label)!r} and "
            f"{printable(other.label)!r}: give it one"
        )
    return one.merged(other)


def song(source_task_id: str | None, audio_id: str | None, audio_url: str | None) -> Song:
    """Check which song is to be separated."""
    if audio_url is not None and source_task_id is None and audio_id is None:
        return {"audio_url": link(audio_url, "audio_url")}
    if audio_url is None and source_task_id is not None and audio_id is not None:
        return {
            "source_task_id": TaskRef(source_task_id).task_id,
            "audio_id": text(audio_id, "audio_id"),
        }
    raise InvalidArgumentError("give either source_task_id with audio_id, or audio_url alone")


def key_in(environ: Mapping[str, str]) -> str:
    """The API key of an environment.

    Raises:
        ConfigurationError: it is not set, or blank; the message names the variable.
    """
    key = environ.get(KEY_VARIABLE)
    del environ  # tracebacks may show local variables
    if key is None:
        raise ConfigurationError(
            f"no API key: set the environment variable {KEY_VARIABLE}, or pass api_key"
        )
    return _filled(key, KEY_VARIABLE, "set it to your API key, or unset it and pass api_key")


def base_url_in(environ: Mapping[str, str]) -> URL:
    """The address of the API that an environment gives; the default if it gives none.

    Raises:
        ConfigurationError: it is blank, or no address of an API; the message names the variable.
    """
    address = environ.get(BASE_URL_VARIABLE, DEFAULT_BASE_URL)
    del environ  # tracebacks may show local variables
    # Blank is not taken for unset: a test setup that lost its address would reach the billed API.
    remedy = f"set it to the address of an API, or unset it for {DEFAULT_BASE_URL}"
    with setting_up():
        return base_url(_filled(address, BASE_URL_VARIABLE, remedy), BASE_URL_VARIABLE)


def upload_url_in(environ: Mapping[str, str], api: URL) -> URL | None:
    """The upload host that an environment gives, or else that of *api*; None if none is known.

    Raises:
        ConfigurationError: it is blank, or no such address; the message names the variable.
    """
    address = environ.get(UPLOAD_URL_VARIABLE)
    del environ  # tracebacks may show local variables
    if address is None:
        known = upload_url_for(api.host or "")
        return None if known is None else URL(known)
    remedy = "set it to the address of an upload host, or unset it"
    with setting_up():
        return upload_url(_filled(address, UPLOAD_URL_VARIABLE, remedy), UPLOAD_URL_VARIABLE)


def log_level_in(environ: Mapping[str, str]) -> int | None:
    """The level from which an environment wants the log to be shown; None for not at all.

    Raises:
        ConfigurationError: it is no such level; the message lists those there are.
    """
    word = environ.get(LOG_VARIABLE, "").strip().lower()
    del environ  # tracebacks may show local variables
    if not word:
        return None
    if word not in LEVELS:
        known = ", ".join(LEVELS)
        raise ConfigurationError(f"the environment variable {LOG_VARIABLE} must be one of: {known}")
    return LEVELS[word]


def _filled(value: str, variable: str, remedy: str) -> str:
    if not value.strip():
        raise ConfigurationError(f"the environment variable {variable} is empty: {remedy}")
    return value
