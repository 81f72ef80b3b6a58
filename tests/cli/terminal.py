"""A terminal emulation for tests, sufficient for a live display."""

from __future__ import annotations

import re

_CONTROL = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])|(.)", re.DOTALL)


class Terminal:
    """The screen contents after some output.

    Attributes:
        has_cursor: whether the cursor is visible.
    """

    def __init__(self) -> None:
        self.has_cursor = True
        self._lines: list[str] = [""]
        self._row = self._column = 0

    @property
    def lines(self) -> list[str]:
        """The lines, up to the last one that is not blank."""
        return "\n".join(map(str.rstrip, self._lines)).rstrip("\n").split("\n")

    def write(self, text: str) -> None:
        """Interpret *text*."""
        for argument, command, character in _CONTROL.findall(text):
            if command:
                self._execute(argument, command)
            elif character == "\n":
                self._go(self._row + 1)
            elif character == "\r":
                self._column = 0
            else:
                self._put(character)

    def _execute(self, argument: str, command: str) -> None:
        if command == "A":
            self._go(self._row - int(argument or 1))
        elif command == "K":
            assert argument == "2"
            self._lines[self._row] = ""
        elif command in "hl":
            assert argument == "?25"
            self.has_cursor = command == "h"
        else:
            assert command == "m", (argument, command)

    def _go(self, row: int) -> None:
        self._row = max(0, row)
        self._lines += [""] * (self._row + 1 - len(self._lines))

    def _put(self, character: str) -> None:
        line = self._lines[self._row].ljust(self._column)
        self._lines[self._row] = line[: self._column] + character + line[self._column + 1 :]
        self._column += 1
