"""Sample response bodies in the format of the providers; ids and links are invented.

Records are plain dictionaries, so that a test can change single fields; `body` encodes them.
"""

import json
from collections.abc import Iterable
from typing import Any

TASK_ID = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"
MUSIC_ID = "song-0001"
SIGNATURE = "Signature=hush-hush&Expires=1767225600"
CREATED_MS = 1_767_000_000_000
COMPLETED_MS = CREATED_MS + 83_000

Record = dict[str, Any]

_RESPONSE_KEYS = (
    "originUrl",
    "instrumentalUrl",
    "vocalUrl",
    "backingVocalsUrl",
    "drumsUrl",
    "bassUrl",
    "guitarUrl",
    "keyboardUrl",
    "percussionUrl",
    "stringsUrl",
    "synthUrl",
    "fxUrl",
    "brassUrl",
    "woodwindsUrl",
)


def link(name: str) -> str:
    """A signed link to a file."""
    return f"https://files.example.net/out/{name}.mp3?{SIGNATURE}"


def stems_of(*present: str, absent: str | None = None) -> Record:
    """The ``response`` of sunoapi.org: every key, with null or "" for absent stems."""
    return {key: link(key) if key in present else absent for key in _RESPONSE_KEYS}


def kie_stems_of(*present: str) -> Record:
    """The ``response`` of kie.ai: one more stem, an unused id, and the list of tracks."""
    tracks = [origin_item(key, duration=120.5) for key in present]
    return stems_of(*present) | {
        "pianoUrl": link("pianoUrl") if "pianoUrl" in present else None,
        "id": None,
        "originData": tracks,
    }


def origin_item(name: str, **changes: Any) -> Record:
    """One track of ``originData``: snake_case inside a camelCase record."""
    return {
        "id": f"track-{name}",
        "stem_type_group_name": name.title(),
        "audio_url": link(name),
        "duration": 61.25,
    } | changes


def pending(**changes: Any) -> Record:
    """A record of sunoapi.org of a task that is still running."""
    return {
        "taskId": TASK_ID,
        "musicId": MUSIC_ID,
        "callbackUrl": "https://hooks.example.net/suno",
        "musicIndex": 0,
        "completeTime": None,
        "response": None,
        "successFlag": "PENDING",
        "createTime": CREATED_MS,
        "errorCode": None,
        "errorMessage": None,
    } | changes


def vocals_done(**changes: Any) -> Record:
    """A record of sunoapi.org with two stems."""
    done = {
        "successFlag": "SUCCESS",
        "completeTime": COMPLETED_MS,
        "response": stems_of("vocalUrl", "instrumentalUrl"),
    }
    return pending(**done) | changes


def stems_done(**changes: Any) -> Record:
    """A record of sunoapi.org with instruments."""
    return vocals_done(response=stems_of("vocalUrl", "drumsUrl", "bassUrl", "fxUrl")) | changes


def kie_done(**changes: Any) -> Record:
    """A record of kie.ai."""
    return vocals_done(response=kie_stems_of("vocalUrl", "pianoUrl", "drumsUrl")) | changes


def older_done(**changes: Any) -> Record:
    """A record of the first API version: three links, and times as text without a zone."""
    done = {
        "createTime": "2025-12-29 09:20:00",
        "completeTime": "2025-12-29 09:21:23",
        "response": {key: link(key) for key in ("originUrl", "vocalUrl", "instrumentalUrl")},
    }
    return vocals_done(**done) | changes


def audio_id_done(**changes: Any) -> Record:
    """A record that names the source track by ``audioId`` and has no ``musicIndex``."""
    record = vocals_done(audioId="clip-0002")
    del record["musicIndex"]
    return record | changes


def advanced_done(**changes: Any) -> Record:
    """A split_stem_advanced record: pairs of tracks instead of named stems."""
    pair = {"extract": origin_item("cello"), "remove": origin_item("rest")}
    return vocals_done(response={"originData": [pair]}) | changes


def failed(status: str = "GENERATE_AUDIO_FAILED", **changes: Any) -> Record:
    """A record of a task that ended without stems."""
    return (
        pending(
            successFlag=status,
            completeTime=COMPLETED_MS,
            errorCode=500,
            errorMessage="the engine gave up",
        )
        | changes
    )


def callback(info: str = "vocal_removal_info", **changes: Any) -> Record:
    """The body of a callback: snake_case, "" for an absent origin."""
    stems = {
        "origin_url": "",
        "vocal_url": link("vocal"),
        "instrumental_url": link("instrumental"),
    }
    return envelope({"task_id": TASK_ID, info: stems}, msg="vocal Removal generated.") | changes


def failed_callback(code: int = 500, **changes: Any) -> Record:
    """The body of the callback of a failed task."""
    data = {"task_id": TASK_ID, "vocal_removal_info": None}
    return envelope(data, code=code, msg="the source could not be fetched") | changes


def envelope(data: Any, *, code: Any = 200, msg: Any = "success") -> Record:
    """The envelope of every answer."""
    return {"code": code, "msg": msg, "data": data}


def error_envelope(code: Any, msg: Any = "no") -> Record:
    """The envelope of an error, which usually has no data."""
    return {"code": code, "msg": msg}


def body(content: Any) -> bytes:
    """The JSON text of *content*."""
    return json.dumps(content).encode()


def answer(data: Any) -> bytes:
    """The body of a successful answer that holds *data*."""
    return body(envelope(data))


def without(record: Record, keys: Iterable[str]) -> Record:
    """A copy of *record* that lacks *keys*."""
    return {key: value for key, value in record.items() if key not in set(keys)}


def nested(depth: int) -> bytes:
    """An array nested *depth* levels deep."""
    return b"[" * depth + b"]" * depth


HTML = b"<!DOCTYPE html><html><body><h1>502 Bad Gateway</h1></body></html>"

BROKEN_BODIES: dict[str, bytes] = {
    "empty": b"",
    "blank": b" \r\n",
    "html": HTML,
    "plain text": b"error code: 1010",
    "truncated": answer(vocals_done())[:-40],
    "two documents": answer(None) * 2,
    "NaN": b'{"code": NaN}',
    "infinity": b'{"code": -Infinity}',
    "a float out of range": b'{"code": 200, "data": 1e400}',
    "an integer of 5000 digits": b'{"code": 200, "data": ' + b"7" * 5000 + b"}",
    "nested too deeply": nested(200_000),
    "UTF-16": json.dumps(envelope(None)).encode("utf-16"),
    "UTF-32": json.dumps(envelope(None)).encode("utf-32"),
    "not UTF-8": b'{"code": 200, "msg": "\xff\xfe"}',
    "gzip": b"\x1f\x8b\x08\x00\x00\x00",
}
"""Bodies that are not a JSON document of this API, by defect."""
