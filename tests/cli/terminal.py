"""As much of a terminal as a live display needs."""

from __future__ import annotations

import re

_CONTROL = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])|(.)", re.DOTALL)


class Terminal:
    """What a person sees of what was written.

    Attributes:
        has_cursor: whether the cursor is shown.
    """

    def __init__(self) -> None:
        self.has_cursor = True
        self._lines: list[str] = [""]
        self._row = self._column = 0

    @property
    def lines(self) -> list[str]:
        """The lines, from the first to the last that holds something."""
        return "\n".join(map(str.rstrip, self._lines)).rstrip("\n").split("\n")

    def write(self, text: str) -> None:
        """Do as a terminal does."""
        for told, command, character in _CONTROL.findall(text):
            if command:
                self._obey(told, command)
            elif character == "\n":
                self._go(self._row + 1)
            elif character == "\r":
                self._column = 0
            else:
                self._put(character)

    def _obey(self, told: str, command: str) -> None:
        if command == "A":
            self._go(self._row - int(told or 1))
        elif command == "K":
            assert told == "2"
            self._lines[self._row] = ""
        elif command in "hl":
            assert told == "?25"
            self.has_cursor = command == "h"
        else:
            assert command == "m", (told, command)

    def _go(self, row: int) -> None:
        self._row = max(0, row)
        self._lines += [""] * (self._row + 1 - len(self._lines))

    def _put(self, character: str) -> None:
        line = self._lines[self._row].ljust(self._column)
        self._lines[self._row] = line[: self._column] + character + line[self._column + 1 :]
        self._column += 1
