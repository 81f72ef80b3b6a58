"""``python -m vocalsep_async.emulator``: the emulator as a command."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attrs import fields

from vocalsep_async.emulator.callback_faults import CallbackFaults
from vocalsep_async.emulator.emulator import Emulator
from vocalsep_async.emulator.profiles import PROFILES
from vocalsep_async.errors import InvalidArgumentError


def _rate_limit(text: str) -> tuple[int, float] | None:
    if text == "none":
        return None
    requests, _, seconds = text.partition("/")
    return int(requests), float(seconds)


_FAULT_NAMES = frozenset(each.name for each in fields(CallbackFaults))
_rate_limit.__name__ = "rate limit"  # argparse shows it for an invalid value


def _callback_faults(text: str) -> CallbackFaults:
    given = dict(pair.partition("=")[::2] for pair in text.split(","))
    unknown = sorted(given.keys() - _FAULT_NAMES)
    if unknown:
        raise argparse.ArgumentTypeError(
            f"there is no {unknown[0]!r}, only {', '.join(sorted(_FAULT_NAMES))}"
        )
    values: dict[str, Any] = {name: _fault(name, value) for name, value in given.items()}
    try:
        return CallbackFaults(**values)
    except InvalidArgumentError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _fault(name: str, text: str) -> float | tuple[float, float]:
    try:
        if name == "delay":
            least, _, most = text.partition("-")
            return float(least), float(most or least)
        return float(text)
    except ValueError:
        example = "1-3" if name == "delay" else "0.5"
        raise argparse.ArgumentTypeError(
            f"{name} needs a number, as in {name}={example}, not {text!r}"
        ) from None


_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "--port": {"type": int, "help": "port to listen on; default: a free one"},
    "--api-key": {"help": "the only key that is accepted; default: any key is"},
    "--provider": {"choices": tuple(PROFILES), "help": "provider to emulate; default: sunoapi"},
    "--speed": {
        "type": float,
        "help": "factor by which tasks are faster than real ones; default: 1",
    },
    "--seed": {"type": int, "help": "seed of task ids, durations and failures; default: 0"},
    "--rate-limit": {
        "type": _rate_limit,
        "metavar": "N/SECONDS",
        "help": 'requests that are allowed, or "none"; default: 20/10',
    },
    "--creation-limit": {
        "type": _rate_limit,
        "metavar": "N/SECONDS",
        "help": "creations that are allowed; default: none",
    },
    "--throttle-code": {
        "type": int,
        "help": "code of throttled requests; default: 430, for kie 429",
    },
    "--throttle-in": {
        "choices": ("body", "status"),
        "help": "whether that code is in the body or the HTTP status; default: body",
    },
    "--count-throttled": {
        "action": "store_true",
        "help": "count throttled requests, too; default: they do not count",
    },
    "--retry-after": {
        "type": float,
        "metavar": "SECONDS",
        "help": "header Retry-After of throttled requests; default: no header",
    },
    "--credits": {"type": float, "help": "credits of the account at the start; default: 1000"},
    "--failure-rate": {
        "type": float,
        "metavar": "SHARE",
        "help": "share of tasks that fail, 0 to 1; default: 0",
    },
    "--lookup-lag": {
        "type": float,
        "metavar": "SECONDS",
        "help": "for how long new tasks are unknown; default: 0",
    },
    "--link-lifetime": {
        "type": float,
        "metavar": "SECONDS",
        "help": "after how long links expire; default: 14 days",
    },
    "--upload-lifetime": {
        "type": float,
        "metavar": "SECONDS",
        "help": "for how long uploads are kept; default: 3 days",
    },
    "--latency": {
        "type": float,
        "metavar": "SECONDS",
        "help": "delay of each response; default: 0",
    },
    "--cors": {
        "action": "store_true",
        "help": "let pages in a browser call it; default: they cannot",
    },
    "--webhook-key": {"help": "key that signs callbacks; default: they are unsigned"},
    "--callbacks": {
        "type": _callback_faults,
        "metavar": "FAULT=NUMBER,...",
        "help": "what goes wrong with callbacks, such as lost=0.5,delay=1-3; default: nothing",
    },
}
"""The options of the command, each with the arguments of argparse for it."""


def options() -> Iterator[tuple[str, str]]:
    """Each option as it is written, and what it means, for a manual."""
    for name, about in _OPTIONS.items():
        yield f"{name} {_value(name, about)}".rstrip(), about["help"]


def _value(name: str, about: Mapping[str, Any]) -> str:
    if "action" in about:
        return ""
    if "choices" in about:
        return f"<{'|'.join(about['choices'])}>"
    return str(about.get("metavar") or name.removeprefix("--").replace("-", "_").upper())


def _parser(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program,
        description="Serve the vocal separation API on 127.0.0.1. "
        "Written from public documents; never compared with the live services.",
        # Options that are not given get the defaults of `Emulator`.
        argument_default=argparse.SUPPRESS,
    )
    for name, about in _OPTIONS.items():
        parser.add_argument(name, **about)
    return parser


def _greeting(emulator: Emulator) -> str:
    key = emulator.api_key or "any-key"
    return (
        f"listening on {emulator.url}, press Ctrl-C to stop; try\n"
        f"  curl -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \\\n"
        f"    {emulator.url}/api/v1/vocal-removal/generate -d "
        """'{"audioUrl": "https://example.com/song.mp3", "callBackUrl": "https://example.com/"}'"""
    )


async def serve(emulator: Emulator) -> None:
    """Run *emulator* until cancelled, and print its address."""
    async with emulator:
        sys.stdout.write(_greeting(emulator) + "\n")
        # A program that reads the address from a pipe must not wait for a full buffer.
        sys.stdout.flush()
        await asyncio.Event().wait()


def main(
    arguments: Sequence[str] | None = None, *, program: str = "python -m vocalsep_async.emulator"
) -> int:
    """Run the emulator until Ctrl-C.

    Args:
        arguments: the command line; None takes that of the process.
        program: the name of the command in its help.

    Returns:
        The exit status: 0 after Ctrl-C, 1 if the port is in use. Invalid options exit with 2.
    """
    parser = _parser(program)
    options = vars(parser.parse_args(arguments))
    try:
        emulator = Emulator(**options)
    except InvalidArgumentError as error:
        parser.error(str(error))
    try:
        asyncio.run(serve(emulator))
    except KeyboardInterrupt:
        return 0
    except OSError as error:
        sys.stderr.write(f"cannot listen on port {emulator.port}: {error.strerror}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
