"""What a file is, by its first bytes and by the media type that its host states."""

from __future__ import annotations

from codecs import getincrementaldecoder

SNIFFED = 64
"""Bytes at the beginning of a file that are examined."""
# The header of a WAV file, and what one frame of MP3 needs: a shorter file holds no sound.
SMALLEST = 44
# What arrives in place of audio: pages of errors, placeholders, archives of all stems.
_SIGNATURES = {
    b"PK\x03\x04": "a ZIP archive",
    b"PK\x05\x06": "a ZIP archive",
    b"PK\x07\x08": "a ZIP archive",
    b"Rar!\x1a\x07": "a RAR archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"\x1f\x8b\x08": "a gzip file",
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ\x00": "an xz file",
    b"\x28\xb5\x2f\xfd": "a Zstandard file",
    b"\xff\xd8\xff": "a JPEG image",
    b"\x89PNG\r\n\x1a\n": "a PNG image",
    b"GIF87a": "a GIF image",
    b"GIF89a": "a GIF image",
    b"II*\x00": "a TIFF image",
    b"MM\x00*": "a TIFF image",
    b"\x00\x00\x01\x00": "an icon",
    b"%PDF-": "a PDF document",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "an Office document",
    b"SQLite format 3\x00": "a database",
    b"\x7fELF": "a program",
    b"MZ\x90\x00": "a program",
    b"\xcf\xfa\xed\xfe": "a program",
    b"\xce\xfa\xed\xfe": "a program",
    b"\xca\xfe\xba\xbe": "a program",
    b"\x00asm\x01\x00\x00\x00": "a program",
    b"MSCF\x00\x00\x00\x00": "a CAB archive",
    b"\x04\x22\x4d\x18": "an LZ4 file",
    b"8BPS\x00": "a Photoshop image",
    b"\x00\x00\x00\x0cjP  \r\n": "a JPEG image",
    b"\x00\x00\x00\x0cJXL \r\n": "a JPEG image",
    b"wOFF": "a font",
    b"wOF2": "a font",
    b"FLV\x01": "a video",
}
_IMAGE_BRANDS = frozenset({b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1"})
# Offset, bytes there, and extension; the first match counts.
_AUDIO_SIGNATURES = (
    (8, b"WAVE", ".wav"),
    (0, b"fLaC", ".flac"),
    (28, b"OpusHead", ".opus"),
    (0, b"OggS", ".ogg"),
    (4, b"ftyp", ".m4a"),
    (8, b"AIFF", ".aiff"),
    (8, b"AIFC", ".aiff"),
    (0, b"ADIF", ".aac"),
    (8, b"RMID", ".mid"),
    (0, b"MThd", ".mid"),
    (0, b"#!AMR", ".amr"),
    (0, b"caff", ".caf"),
    (0, b".snd", ".au"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", ".wma"),
)
_MEDIA_TYPES = {
    f"{kind}/{prefix}{subtype}": extension
    for extension, subtypes in {
        ".mp3": ("mpeg", "mp3", "mpeg3"),
        ".wav": ("wav", "wave", "vnd.wave", "pn-wav"),
        ".flac": ("flac",),
        ".m4a": ("mp4", "m4a", "mp4a-latm"),
        ".ogg": ("ogg", "vorbis"),
        ".opus": ("opus",),
        ".aac": ("aac", "aacp"),
        ".aiff": ("aiff", "aifc"),
        ".webm": ("webm",),
        ".mka": ("matroska",),
        ".amr": ("amr", "amr-wb", "amr-wb+"),
        ".mid": ("midi", "mid"),
        ".caf": ("caf",),
        ".au": ("basic", "au"),
        ".wma": ("ms-wma",),
    }.items()
    for subtype in subtypes
    for prefix in ("", "x-")
    for kind in ("audio", "application", "video")
}
# Control characters that no text holds; every format of audio has some in its first bytes.
_BINARY = frozenset(range(32)) - frozenset(b"\t\n\f\r\x1b")
_ASCII = frozenset(range(127)) - _BINARY
# The least share of ASCII in text of a Western encoding, such as Latin-1, whatever its language.
_LEAST_ASCII = 0.75


def foreign(beginning: bytes) -> str | None:
    """What the file is that begins so, if it is certainly no audio; None otherwise."""
    for signature, name in _SIGNATURES.items():
        if beginning.startswith(signature):
            return name
    if _is_picture(beginning):
        return "an image or a video"
    return "text, such as a web page," if _is_text(beginning[:SNIFFED]) else None


def extension_of(beginning: bytes, media_type: str | None) -> str | None:
    """The extension of an audio file that begins so; None if neither argument says what it is."""
    stated = _MEDIA_TYPES.get(media_type or "")
    if beginning.startswith(b"ID3"):
        # A tag that is in front of other formats, too.
        return stated or ".mp3"
    return _extension_by_content(beginning) or stated


def _extension_by_content(beginning: bytes) -> str | None:
    for at, signature, extension in _AUDIO_SIGNATURES:
        if beginning.startswith(signature, at):
            return extension
    if beginning.startswith(b"\x1a\x45\xdf\xa3"):
        # A container with many kinds of content, which names its kind near the beginning.
        return ".webm" if b"webm" in beginning[:SNIFFED] else ".mka"
    if len(beginning) > 1 and beginning[0] == 0xFF and beginning[1] & 0xE0 == 0xE0:
        # The two bits of the layer: all formats of MPEG audio but AAC set one.
        return ".mp3" if beginning[1] & 0x06 else ".aac"
    return None


def _is_picture(beginning: bytes) -> bool:
    # In containers that hold audio, too.
    if beginning.startswith(b"RIFF"):
        return beginning[8:12] in (b"WEBP", b"AVI ")
    if beginning.startswith(b"BM"):
        # The reserved fields, and an offset of the pixels that fits.
        return beginning[6:10] == bytes(4) and beginning[11:14] == bytes(3)
    return beginning[4:8] == b"ftyp" and beginning[8:12] in _IMAGE_BRANDS


def _is_text(beginning: bytes) -> bool:
    # Editors put a byte order mark, and servers blank lines, in front of a page.
    text = beginning.removeprefix(b"\xef\xbb\xbf")
    if text.lstrip().startswith((b"<", b"{", b"[")):
        return True
    if _is_utf_16(text):
        return True
    return not _BINARY.intersection(text) and (_is_utf_8(text) or _is_mostly_ascii(text))


def _is_utf_16(text: bytes) -> bool:
    characters = text.removeprefix(b"\xff\xfe").removeprefix(b"\xfe\xff")
    one, other = characters[::2], characters[1::2]
    return any(_ASCII.issuperset(a) and a and not any(b) for a, b in ((one, other), (other, one)))


def _is_utf_8(text: bytes) -> bool:
    try:
        # Incremental, since the last character may be cut.
        getincrementaldecoder("utf-8")().decode(text)
    except UnicodeDecodeError:
        return False
    return True


def _is_mostly_ascii(text: bytes) -> bool:
    return sum(byte in _ASCII for byte in text) >= _LEAST_ASCII * len(text)
