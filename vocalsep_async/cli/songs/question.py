"""Asks on a terminal, and reads the answer without holding up the event loop."""

from __future__ import annotations

import sys
from contextlib import aclosing

from vocalsep_async.cli.output import Output
from vocalsep_async.cli.text_lines import read_chunks

_YES = frozenset({b"y", b"yes"})
_STANDARD_INPUT = 0


def can_ask() -> bool:
    """Whether a person can see a question, and answer it."""
    streams = (sys.stdin, sys.stderr)
    return all(each is not None and each.isatty() for each in streams)


async def agrees(question: str, output: Output) -> bool:
    """Ask *question*, to which only yes is yes, on a line of its own."""
    output.ask(f"{question} [y/N] ")
    answer = b""
    try:
        answer = await _first_line()
    finally:
        if not answer.endswith(b"\n"):
            # The terminal has shown no end of the line.
            output.warn("")
    return answer.endswith(b"\n") and answer.strip().lower() in _YES


async def _first_line() -> bytes:
    line = b""
    # Not `input`, which would keep the process from ending after Ctrl-C.
    async with aclosing(read_chunks(_STANDARD_INPUT)) as chunks:  # type: ignore[type-var]
        async for chunk in chunks:
            line += chunk
            if not chunk or b"\n" in line:
                break
    return line
