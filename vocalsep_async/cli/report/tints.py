"""A stem has the same colour in every report."""

from __future__ import annotations

from zlib import crc32

_KNOWN = (
    "vocal",
    "instrumental",
    "backing_vocals",
    "drums",
    "bass",
    "guitar",
    "piano",
    "keyboard",
    "percussion",
    "strings",
    "synth",
    "fx",
    "brass",
    "woodwinds",
    "origin",
)
"""In the order of the tints in the style sheet."""


def tint(stem: str) -> int:
    """The number of the stem's tint; names that are new share those of the others."""
    return _KNOWN.index(stem) if stem in _KNOWN else crc32(stem.encode(errors="replace")) % 14
