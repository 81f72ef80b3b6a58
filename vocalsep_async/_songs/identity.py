"""Which songs are the same: those that one creation is enough for."""

from __future__ import annotations

import hashlib
import json

from vocalsep_async.models import SeparationType
from vocalsep_async.songs import Song

KEY_BYTES = 32


def identity(
    song: Song, kind: SeparationType, stem_name: str | None, content: str | None, key: bytes
) -> str:
    """What *song* shares with those that are the same, and with no other one, in hexadecimal.

    A file is its content, a URL the whole of it as it was given, and a song of the provider both of
    its ids; each with what is to be made of it.

    Args:
        song: the song.
        kind: what is to be made of it.
        stem_name: the instrument; None for none.
        content: the SHA-256 of its content, in hexadecimal; None for what has no content here.
        key: a secret of the journal: without it, nothing can be said about a URL from its identity.
    """
    parts = [*_source(song, content), kind, stem_name]
    return hashlib.blake2b(json.dumps(parts).encode(), key=key, digest_size=32).hexdigest()


def _source(song: Song, content: str | None) -> tuple[str, ...]:
    if song.key is not None:
        return "key", song.key
    match song.source:
        case str() as url:
            return "url", url
        case (task_id, audio_id):
            return "track", task_id, audio_id
        case _:
            return "content", content or ""


def again(identity_: str, times: int) -> str:
    """The identity of a song that is created once more on purpose, for the *times*-th time."""
    return f"{identity_}+{times}" if times else identity_
