"""What arrives in place of audio is refused; every format of audio is accepted."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from downloads.hosts import AUDIO, QUICK, Answer, Host, files_of, names_in, remote_of
from hypothesis import given
from hypothesis import strategies as st

from vocalsep_async import DownloadError, ErrorAction, TransportError, VocalSepClient
from vocalsep_async._downloads.content import SMALLEST, SNIFFED, foreign
from vocalsep_async._downloads.source import UnusableFileError

REST = bytes(range(256)) * 4
PAGE = "<!DOCTYPE html><html><body>Melden Sie sich im Netz des Hotels an.</body></html>"
FOREIGN = {
    "plain text": b"The file you requested is being prepared. Please come back later.",
    "a word": b"Forbidden",
    "French in Latin-1": "Accès refusé : le lien a expiré, demandez-en un autre au vendeur".encode(
        "latin-1"
    ),
    "Chinese": ("文件已过期" * 20).encode(),
    "text with a mark": b"\xef\xbb\xbfNot found, and nothing else is here to be seen.",
    "blanks": b" \r\n\t" * 20,
    "colours": b"\x1b[31merror\x1b[0m: the object does not exist in this bucket",
    "UTF-16": PAGE.encode("utf-16"),
    "UTF-16, little-endian": PAGE.encode("utf-16-le"),
    "UTF-16, big-endian": PAGE.encode("utf-16-be"),
    "a page": PAGE.encode(),
    "JSON": b'{"code": 404, "msg": "no such file"}',
    "a stylesheet": b"body { color: #fff; background: url(data:image/png;base64,AAAA) }",
    "ZIP": b"PK\x03\x04\x14\x00\x08\x08" + REST,
    "empty ZIP": b"PK\x05\x06" + bytes(40),
    "spanned ZIP": b"PK\x07\x08PK\x03\x04" + REST,
    "RAR": b"Rar!\x1a\x07\x01\x00" + REST,
    "7z": b"7z\xbc\xaf\x27\x1c\x00\x04" + REST,
    "gzip": b"\x1f\x8b\x08\x00" + REST,
    "bzip2": b"BZh91AY&SY" + REST,
    "xz": b"\xfd7zXZ\x00\x00\x04" + REST,
    "Zstandard": b"\x28\xb5\x2f\xfd\x04" + REST,
    "JPEG": b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + REST,
    "JPEG of a camera": b"\xff\xd8\xff\xe1\x00\x10Exif\x00" + REST,
    "PNG": b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + REST,
    "GIF": b"GIF89a\x01\x00\x01\x00" + REST,
    "TIFF": b"II*\x00\x08\x00\x00\x00" + REST,
    "WebP": b"RIFF\x24\x00\x00\x00WEBPVP8 " + REST,
    "AVIF": b"\x00\x00\x00\x20ftypavif\x00\x00\x00\x00" + REST,
    "HEIC": b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00" + REST,
    "icon": b"\x00\x00\x01\x00\x01\x00" + REST,
    "PDF": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n" + REST,
    "Office": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(60),
    "SQLite": b"SQLite format 3\x00\x10\x00" + REST,
    "ELF": b"\x7fELF\x02\x01\x01\x00" + REST,
    "a program": b"MZ\x90\x00\x03\x00" + REST,
    "Mach-O": b"\xcf\xfa\xed\xfe\x07\x00" + REST,
    "Mach-O, 32 bits": b"\xce\xfa\xed\xfe\x07\x00" + REST,
    "Java": b"\xca\xfe\xba\xbe\x00\x00" + REST,
    "WebAssembly": b"\x00asm\x01\x00\x00\x00" + REST,
    "CAB": b"MSCF\x00\x00\x00\x00" + REST,
    "LZ4": b"\x04\x22\x4d\x18\x64" + REST,
    "Photoshop": b"8BPS\x00\x01" + REST,
    "JPEG 2000": b"\x00\x00\x00\x0cjP  \r\n\x87\n" + REST,
    "JPEG XL": b"\x00\x00\x00\x0cJXL \r\n\x87\n" + REST,
    "bitmap": b"BM\x36\x10\x0e\x00\x00\x00\x00\x00\x36\x00\x00\x00" + REST,
    "font": b"wOFF\x00\x01" + REST,
    "newer font": b"wOF2\x00\x01" + REST,
    "Flash video": b"FLV\x01\x05" + REST,
    "AVI": b"RIFF\x24\x00\x00\x00AVI LIST" + REST,
    "XML of a store": (
        b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>NoSuchKey</Code></Error>'
    ),
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"></svg>',
    "a page with a mark": b"\xef\xbb\xbf" + PAGE.encode(),
    "a gzip of a page": gzip.compress(PAGE.encode()),
    "JavaScript": b"window.location.replace('https://example.com/login?next=/file')",
    "PostScript": b"%!PS-Adobe-3.0\n%%BoundingBox: 0 0 612 792\n%%Pages: 1\n",
    "a playlist": b"#EXTM3U\n#EXT-X-VERSION:3\n#EXTINF:10,\nsegment0.ts\n",
}
AUDIO_FORMATS = {
    "MP3 with a tag": b"ID3\x04\x00\x00\x00\x00\x00\x23TSSE\x00\x00\x00\x0f\x00\x00\x03Lavf60.16",
    "MP3 with an old tag": b"ID3\x02\x00\x00\x00\x00\x0fvTT2\x00\x00\x0d\x00A song of text",
    "MP3": b"\xff\xfb\x90\x64\x00\x0f\xf0\x00\x00\x69\x00\x00\x00\x08\x00\x00\x0d\x20",
    "MPEG, layer I": b"\xff\xfe\x90\x64\x00\x0f\xf0\x00\x00\x69",
    "MP3, half the rate": b"\xff\xf3\x84\xc4\x00\x0d\x00\x00\x01\xa4",
    "WAV": b"RIFF\x24\x08\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x02\x00",
    "large WAV": b"RF64\xff\xff\xff\xffWAVEds64\x1c\x00\x00\x00",
    "FLAC": b"fLaC\x00\x00\x00\x22\x10\x00\x10\x00",
    "Ogg": b"OggS\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00",
    "M4A": b"\x00\x00\x00\x20ftypM4A \x00\x00\x02\x00isomiso2",
    "MP4": b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00isommp42",
    "AAC": b"\xff\xf1\x50\x80\x2e\x7f\xfc\x21\x00\x49",
    "AIFF": b"FORM\x00\x00\x10\x00AIFFCOMM\x00\x00\x00\x12",
    "CAF": b"caff\x00\x01\x00\x00desc",
    "WebM": b"\x1a\x45\xdf\xa3\x01\x00\x00\x00",
    "WMA": b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
    "Matroska": b"\x1a\x45\xdf\xa3\xa3\x42\x86\x81\x01\x42\x82\x88matroska",
    "AMR": b"#!AMR\n\x3c\x91\x17",
    "MIDI": b"MThd\x00\x00\x00\x06\x00\x01",
    "Sun": b".snd\x00\x00\x00\x18",
    "3GP": b"\x00\x00\x00\x18ftyp3gp5\x00\x00\x01\x00",
    "audiobook": b"\x00\x00\x00\x1cftypM4B \x00\x00\x00\x00",
    "silence": bytes(64),
}


@pytest.mark.parametrize("data", FOREIGN.values(), ids=FOREIGN)
def test_what_is_certainly_no_audio_is_recognised(data: bytes) -> None:
    assert foreign(data[:SNIFFED]) is not None
    assert foreign(data) == foreign(data[:SNIFFED])


@pytest.mark.parametrize("data", AUDIO_FORMATS.values(), ids=AUDIO_FORMATS)
@given(rest=st.binary(max_size=80))
def test_every_format_of_audio_is_accepted(data: bytes, rest: bytes) -> None:
    assert foreign(data + rest) is None


@given(st.text(min_size=1).filter(lambda text: text.isprintable()), st.integers(1, SNIFFED))
def test_any_printable_text_is_recognised_wherever_it_is_cut(text: str, end: int) -> None:
    assert foreign(text.encode()[:end]) is not None


@given(st.binary(max_size=200))
def test_the_answer_depends_on_the_first_bytes_alone(data: bytes) -> None:
    assert foreign(data) == foreign(data[:SNIFFED])


@pytest.mark.anyio
class TestDownloads:
    @pytest.mark.parametrize("kind", ["audio/mpeg", "application/octet-stream", None])
    @pytest.mark.parametrize("data", FOREIGN.values(), ids=FOREIGN)
    async def test_a_file_that_is_no_audio_is_refused_without_a_retry(
        self, data: bytes, kind: str | None
    ) -> None:
        with Host(Answer(data, kind=kind)) as host:
            error = await _error(host)
        assert isinstance(error, UnusableFileError)
        assert "the file host sent " in str(error)
        assert "and not audio" in str(error)
        assert len(host.requests) == 1

    @pytest.mark.parametrize("name", ["plain text", "ZIP", "JPEG", "PNG", "PDF"])
    async def test_nothing_of_what_is_no_audio_is_kept(self, name: str, tmp_path: Path) -> None:
        with Host(Answer(FOREIGN[name] * 2000)) as host:
            async with VocalSepClient("a-key", base_url=host.url) as client:
                with pytest.raises(DownloadError, match="and not audio"):
                    await client.download_stems(host.task("vocal"), tmp_path)
        assert names_in(tmp_path / "task-1") == set()

    @pytest.mark.parametrize("size", [1, 2, 17, SMALLEST - 1])
    @pytest.mark.parametrize("is_chunked", [False, True])
    async def test_a_file_too_small_for_audio_is_refused_without_a_retry(
        self, size: int, *, is_chunked: bool
    ) -> None:
        with Host(Answer(AUDIO[:size], is_chunked=is_chunked)) as host:
            error = await _error(host)
        assert isinstance(error, UnusableFileError)
        assert f"the file has only {size} bytes, which is too little for audio" in str(error)
        assert len(host.requests) == 1

    async def test_a_beginning_that_may_have_been_cut_is_requested_again(self) -> None:
        with Host(Answer(AUDIO[:9], sized=False)) as host:
            error = await _error(host)
        assert error.action is ErrorAction.RETRY
        assert "only 9 bytes arrived, which is too little for audio" in str(error)
        assert len(host.requests) == QUICK.attempts


async def _error(host: Host) -> TransportError:
    files = files_of(host)
    async with remote_of(host, files) as remote:
        await remote.open()
        with pytest.raises(TransportError) as caught:
            await remote.next()
    await files.aclose()
    return caught.value
