"""``python -m vocalsep_async.emulator``: the emulator from a shell."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence

from vocalsep_async.emulator.emulator import Emulator
from vocalsep_async.errors import InvalidArgumentError


def _rate_limit(text: str) -> tuple[int, float] | None:
    if text == "none":
        return None
    requests, _, seconds = text.partition("/")
    return int(requests), float(seconds)


_rate_limit.__name__ = "rate limit"  # argparse names it when the text does not fit


def _parser(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program,
        description="Speak the vocal separation API on 127.0.0.1. "
        "Written from public documents, never compared with the live service.",
        argument_default=argparse.SUPPRESS,
    )
    add = parser.add_argument
    add("--port", type=int, help="where to listen; a free port if not given")
    add("--api-key", help="the key to accept; any if not given")
    add("--provider", choices=("sunoapi", "kie"), help="whose codes and shapes (sunoapi)")
    add("--speed", type=float, help="how many times faster than life tasks go (1)")
    add("--seed", type=int, help="what ids, durations and failures are drawn from (0)")
    add("--rate-limit", type=_rate_limit, metavar="N/SECONDS", help='or "none" (20/10)')
    add("--throttle-code", type=int, help="the code for too many requests (430; kie: 429)")
    add("--throttle-in", choices=("body", "status"), help="where the code stands (body)")
    add("--count-throttled", action="store_true", help="refused requests count too")
    add("--retry-after", type=float, metavar="SECONDS", help="header of refusals (none)")
    add("--credits", type=float, help="what the account holds (1000)")
    add("--failure-rate", type=float, metavar="SHARE", help="of tasks that fail, 0 to 1 (0)")
    add("--lookup-lag", type=float, metavar="SECONDS", help="a new task is unknown for (0)")
    add("--link-lifetime", type=float, metavar="SECONDS", help="links hold for (14 days)")
    add("--latency", type=float, metavar="SECONDS", help="before each answer (0)")
    add("--webhook-key", help="signs the callbacks; unsigned if not given")
    return parser


def _greeting(emulator: Emulator) -> str:
    key = emulator.api_key or "any-key"
    return (
        f"listening on {emulator.url}, Ctrl-C ends it; try\n"
        f"  curl -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \\\n"
        f"    {emulator.url}/api/v1/vocal-removal/generate -d "
        """'{"audioUrl": "https://example.com/song.mp3", "callBackUrl": "https://example.com/"}'"""
    )


async def serve(emulator: Emulator) -> None:
    """Run *emulator* until cancelled, and say where it is."""
    async with emulator:
        sys.stdout.write(_greeting(emulator) + "\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


def main(
    arguments: Sequence[str] | None = None, *, program: str = "python -m vocalsep_async.emulator"
) -> int:
    """Run the emulator until Ctrl-C.

    Args:
        arguments: the command line; None takes the one of the process.
        program: what to call it in its help.

    Returns:
        The exit code: 0 after Ctrl-C, 1 if the port is taken. Wrong options exit with 2.
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
