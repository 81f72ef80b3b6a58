"""What an uploaded file is called at its host: a name that cannot be guessed, with a safe suffix.

The link to an upload is public, so its name is all that protects the song. Each try gets a name of
its own: a file that was sent twice under one name may be served from a cache as it was at first.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from pathlib import PurePath

FOLDER = "vocalsep"
"""The folder at the upload host; it must be named."""
NO_NAME = "song"
_UNSAFE = re.compile(r"[^A-Za-z0-9]+")
_SUFFIX = re.compile(r"\.[a-z0-9]{1,8}")
_LONGEST_STEM = 60
_SECRET_BYTES = 24
_UNKNOWN_TYPE = "application/octet-stream"
_MEDIA_TYPES: Mapping[str, str] = {
    ".aac": "audio/aac",
    ".aif": "audio/aiff",
    ".aiff": "audio/aiff",
    ".flac": "audio/flac",
    ".m4a": "audio/mp4",
    ".mp3": "audio/mpeg",
    ".mp4": "video/mp4",
    ".oga": "audio/ogg",
    ".ogg": "audio/ogg",
    ".opus": "audio/ogg",
    ".wav": "audio/wav",
    ".webm": "audio/webm",
    ".wma": "audio/x-ms-wma",
}


def stored_name(stem: str | None, suffix: str) -> str:
    """A new name for a file at its host.

    Args:
        stem: what the user calls it; None shows nothing of the file to those who see the link.
        suffix: of the file, or "".
    """
    shown = _UNSAFE.sub("-", PurePath(stem or "").stem)[:_LONGEST_STEM].strip("-")
    return f"{shown or NO_NAME}-{secrets.token_urlsafe(_SECRET_BYTES)}{suffix}"


def suffix_of(*names: str | None) -> str:
    """The first safe suffix among those of *names*, in lower case; "" if there is none."""
    suffixes = (PurePath(name or "").suffix.lower() for name in names)
    return next((suffix for suffix in suffixes if _SUFFIX.fullmatch(suffix)), "")


def media_type(suffix: str) -> str:
    """The media type of files with that suffix."""
    return _MEDIA_TYPES.get(suffix, _UNKNOWN_TYPE)
