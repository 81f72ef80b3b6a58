"""Arguments and options that several commands share, and the global ones."""

from __future__ import annotations

import errno
import os
import ssl
import stat
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer
from attrs import fields, frozen

from vocalsep_async import (
    ConfigurationError,
    EventListener,
    InvalidArgumentError,
    Provider,
    SeparationType,
    Stems,
    VocalSepClient,
    _arguments,
)
from vocalsep_async._text import printable
from vocalsep_async.cli.usage import ALL_HOSTS, ALLOW_HOSTS
from vocalsep_async.providers import APIKLEY, KIE, KIE_JOBS, SUNOAPI, provider_for
from vocalsep_async.songs import OnUncertain

_ACCESS_BY_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_PROVIDERS = {each.name: each for each in (SUNOAPI, KIE, KIE_JOBS, APIKLEY)}
_CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Besides SSL_CERT_FILE and SSL_CERT_DIR, which OpenSSL reads itself."""
_KNOWN_STEMS = tuple(each.name for each in fields(Stems))
_SIMILARITY = 0.8
"""From which a name is taken for a mistyped one: "vocals" and "drumz" are, "lead_vocal" is not."""

Ids = Annotated[list[str], typer.Argument(metavar="ID", help="Task ids.")]
IdsOrStdin = Annotated[
    list[str] | None,
    typer.Argument(metavar="ID", help="Task ids; - reads them from standard input."),
]
IdFile = Annotated[
    Path | None,
    typer.Option(
        "--file",
        help="A file with one task id per line, where # begins a comment; objects of JSON with "
        "task_id, label and type, one per line; or a CSV with columns of these names.",
    ),
]
Column = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Column with the ids, where --file is a CSV whose first line has names; its columns "
        "label and type are read, too.",
    ),
]
TaskType = Annotated[
    SeparationType | None,
    typer.Option("--type", help="Type of the tasks; knowing it saves time and polls."),
]
Timeout = Annotated[
    float | None, typer.Option(help="Seconds to wait for each task; no limit by default.", min=0)
]
JournalPath = Annotated[
    Path | None,
    typer.Option(help="Record progress in this file, and continue from what it holds."),
]
To = Annotated[Path | None, typer.Option("--to", help="Save the stems below this folder.")]
StemNames = Annotated[
    list[str] | None,
    typer.Option("--stem", help="Save only this stem, such as vocal; can be repeated."),
]
Template = Annotated[
    str | None,
    typer.Option(
        metavar="PATH",
        help="Where each file goes below --to, with {task_id}, {label}, {stem} and {ext}, such as "
        "{label}/{stem}{ext}; {task_id}/{stem}{ext} by default.",
    ),
]
Report = Annotated[
    Path | None,
    typer.Option(help="Write an HTML report with charts and players, for example report.html."),
]
CallbackPort = Annotated[
    int | None,
    typer.Option(
        "--callbacks",
        metavar="PORT",
        help="Receive the callbacks of the tasks on this port of 127.0.0.1; 0 for any that is "
        "free.",
        min=0,
        max=65_535,
    ),
]
Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="SOURCE",
        help="Audio files, http(s) links, folders, or lists of them: a CSV with columns source, "
        "label, type, stem_name and key, objects of JSON with these names, one per line, or one "
        "path or link per line.",
    ),
]
StemsFolder = Annotated[Path, typer.Option("--to", help="Save the stems below this folder.")]
SongType = Annotated[
    SeparationType,
    typer.Option("--type", help="Type of separation for songs whose list names none."),
]
StemName = Annotated[
    str | None, typer.Option(help="Instrument to extract, for split_stem_advanced.")
]
SongTemplate = Annotated[
    str,
    typer.Option(
        metavar="PATH",
        help="Where each file goes below --to, with {label}, {task_id}, {stem} and {ext}.",
    ),
]
SongJournal = Annotated[
    Path | None,
    typer.Option(
        help="Keep what was paid for in this file; by default songs.journal in the folder of "
        "--to. Without it, the same songs would be paid for again.",
        show_default=False,
    ),
]
MaxCredits = Annotated[
    float | None,
    typer.Option(help="Create no task that would make the run cost more than this.", min=0),
]
Agreed = Annotated[
    bool, typer.Option("--yes", "-y", metavar="", help="Agree to the cost without a question.")
]
WhenUncertain = Annotated[
    OnUncertain,
    typer.Option(
        help="What happens to a song that an earlier run may have created, without its id being "
        "known: report leaves it alone, create creates it again, which may be billed twice."
    ),
]
Resubmit = Annotated[
    int,
    typer.Option(
        help="How often a song whose separation failed is created again; each time is billed.",
        min=0,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run", metavar="", help="Print the songs and what they would cost, and send nothing."
    ),
]
AsJson = Annotated[
    bool,
    typer.Option("--json", metavar="", help="Print JSON to standard output, one object per line."),
]
KeyFile = Annotated[
    Path | None,
    typer.Option(help="Read the API key from this file, which must be private (mode 600)."),
]
ProviderName = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Provider, such as kie_jobs; by default that of the address of the API.",
    ),
]
ProxyUrl = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="HTTP proxy for all requests, in place of HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and "
        "NO_PROXY. Other users of the machine can see a login in it; those variables hide it.",
    ),
]
CaFile = Annotated[
    Path | None,
    typer.Option(
        help="Also trust the certificate authorities in this PEM file, for networks that inspect "
        "TLS; by default those of REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE."
    ),
]
AllowedHosts = Annotated[
    list[str] | None,
    typer.Option(
        ALLOW_HOSTS,
        metavar="[NETWORK]",
        help="Save stems also from addresses in this network, such as 198.18.0.0/15, although they "
        "are not public; can be repeated. Without a network: from every address and port.",
    ),
]


@frozen
class Settings:
    """The global options.

    Attributes:
        key_file: the file that holds the API key; None for the environment.
        quiet: whether progress is hidden.
        debug: whether errors are shown with their traceback and the ids of requests.
        provider: the name of the provider; None finds it from the address of the API.
        proxy: the URL of a proxy; None for those of the environment.
        ca_file: a file with further certificate authorities; None for those of the environment.
        allowed_hosts: networks from which stems may be saved, or "all".
    """

    key_file: Path | None = None
    quiet: bool = False
    debug: bool = False
    provider: str | None = None
    proxy: str | None = None
    ca_file: Path | None = None
    allowed_hosts: Sequence[str] = ()

    def client(self, on_event: EventListener | None = None) -> VocalSepClient:
        """A client with the key from the file or the environment.

        Args:
            on_event: gets the events of the client; None for none.

        Raises:
            ConfigurationError: there is no key, or other users can read the file; there is no such
                provider, or it is not at the address of the API; a proxy, an authority or a network
                is none.
            OSError: a file cannot be read.
        """
        provider = None if self.provider is None else _provider(self.provider)
        client = self._client(provider, on_event)
        _check_address(provider, client.base_url)
        return client

    def found_provider(self) -> Provider:
        """The provider that a client would have.

        Raises:
            ConfigurationError: there is no such provider, or the address is none.
        """
        if self.provider is not None:
            return _provider(self.provider)
        return provider_for(_arguments.base_url_in(os.environ).host or "")

    def has_upload_host(self) -> bool:
        """Whether a client would know where to upload files.

        Raises:
            ConfigurationError: the environment names an address that is none.
        """
        api = _arguments.base_url_in(os.environ)
        return _arguments.upload_url_in(os.environ, api) is not None

    def _client(self, provider: Provider | None, on_event: EventListener | None) -> VocalSepClient:
        # Read first: without a key nothing else matters.
        key = None if self.key_file is None else _read_key(self.key_file)
        if key is None:
            _check_key_variable()
        return VocalSepClient(
            key,
            provider=provider,
            on_event=on_event,
            proxy=self.proxy,
            # As other programs of a shell do.
            trust_env=True,
            ssl=_context(self.ca_file),
            allow_private_hosts=ALL_HOSTS in self.allowed_hosts or self.allowed_hosts,
        )


def _check_key_variable() -> None:
    # The client's own messages name its argument, which is no option of a command.
    variable = _arguments.KEY_VARIABLE
    if variable not in os.environ:
        raise ConfigurationError(
            f"no API key: set the environment variable {variable}, or use --key-file"
        )
    if not os.environ[variable].strip():
        raise ConfigurationError(
            f"the environment variable {variable} is empty: set it to your API key, or use "
            "--key-file"
        )


def _provider(name: str) -> Provider:
    if name not in _PROVIDERS:
        known = ", ".join(_PROVIDERS)
        raise ConfigurationError(f"there is no provider {printable(name)!r}; there are: {known}")
    return _PROVIDERS[name]


def _check_address(provider: Provider | None, base_url: str) -> None:
    """Check that the key does not go to another provider than the one that is named."""
    host = urlsplit(base_url).hostname or ""
    is_elsewhere = any(host in each.hosts for each in _PROVIDERS.values())
    if provider is not None and is_elsewhere and host not in provider.hosts:
        (right, *_) = sorted(provider.hosts)
        raise ConfigurationError(
            f"{provider.name} is not at {host}: set VOCALSEP_BASE_URL to https://{right}"
        )


def _context(file: Path | None) -> ssl.SSLContext | None:
    """A context that also trusts the authorities in *file*; None for the default one."""
    path, source = file, "--ca-file"
    for variable in _CA_VARIABLES:
        if path is None and (value := os.environ.get(variable)):
            path, source = Path(value), f"the environment variable {variable}"
    if path is None:
        return None
    context = ssl.create_default_context()
    # The authorities of companies often lack formalities, of which Python 3.13 made requirements.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    try:
        is_folder = path.is_dir()
        context.load_verify_locations(
            cafile=None if is_folder else path, capath=path if is_folder else None
        )
    except ssl.SSLError:
        raise ConfigurationError(
            f"{path}, which {source} names, contains no certificate in PEM format"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"{path}, which {source} names: {error.strerror}") from None
    return context


def _read_key(file: Path) -> str:
    # Before the mode: with the advice below, a folder could not be entered any more.
    if file.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(file))
    # Windows has no such permissions.
    if os.name == "posix" and file.stat().st_mode & _ACCESS_BY_OTHERS:
        raise ConfigurationError(f"other users can read the key in {file}: run chmod 600 {file}")
    try:
        key = file.read_text("utf-8-sig").strip()
    except UnicodeDecodeError:
        key = ""
    if not key:
        raise ConfigurationError(f"{file} contains no key: it must contain the key alone")
    return key


def check_stems(names: Iterable[str]) -> None:
    """Check the names of stems as far as that is possible without a task.

    Raises:
        InvalidArgumentError: a name is a mistyped one; the message has the right one.
    """
    # Others may be right: a track of the provider's engine can have any name.
    for name in names:
        similar = get_close_matches(name, _KNOWN_STEMS, n=1, cutoff=_SIMILARITY)
        if similar and similar[0] != name:
            raise InvalidArgumentError(
                f"there is no stem {printable(name)!r}; did you mean {similar[0]}?"
            )
