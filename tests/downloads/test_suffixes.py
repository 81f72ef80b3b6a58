"""The suffix of a file follows what came, where its link has none."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
from attrs import evolve
from downloads.hosts import AUDIO, TASK_ID, Answer, Host, hidden_below
from downloads.parts import HALF, IDENTITY, half_of
from hypothesis import given
from hypothesis import strategies as st

from vocalsep_async import DownloadProgress, DownloadReport, Stems, VocalSepClient
from vocalsep_async._downloads.content import extension_of
from vocalsep_async._downloads.paths import EXTENSIONS
from vocalsep_async.downloads import Overwrite
from vocalsep_async.instrumentation import StemSaved, StemStarted

BEGINNINGS = {
    "WAV": (b"RIFF\x24\x08\x00\x00WAVEfmt \x10\x00\x00\x00", ".wav"),
    "large WAV": (b"RF64\xff\xff\xff\xffWAVEds64\x1c\x00\x00\x00", ".wav"),
    "FLAC": (b"fLaC\x00\x00\x00\x22", ".flac"),
    "Vorbis": (b"OggS\x00\x02" + bytes(20) + b"\x01\x1e\x01vorbis", ".ogg"),
    "Opus": (b"OggS\x00\x02" + bytes(20) + b"\x01\x13OpusHead\x01", ".opus"),
    "M4A": (b"\x00\x00\x00\x20ftypM4A \x00\x00\x02\x00", ".m4a"),
    "MP4": (b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00", ".m4a"),
    "AIFF": (b"FORM\x00\x00\x10\x00AIFFCOMM\x00", ".aiff"),
    "AIFF-C": (b"FORM\x00\x00\x10\x00AIFCFVER\x00", ".aiff"),
    "AAC": (b"\xff\xf1\x50\x80\x2e\x7f\xfc\x21\x00", ".aac"),
    "AAC, MPEG-2": (b"\xff\xf9\x50\x80\x2e\x7f\xfc\x21\x00", ".aac"),
    "AAC, ADIF": (b"ADIF\x00\x00", ".aac"),
    "MP3": (b"\xff\xfb\x90\x64\x00", ".mp3"),
    "MP3, half the rate": (b"\xff\xf3\x84\xc4\x00", ".mp3"),
    "WebM": (b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\x82\x84webm", ".webm"),
    "Matroska": (b"\x1a\x45\xdf\xa3\xa3\x42\x86\x81\x01\x42\x82\x88matroska", ".mka"),
    "AMR": (b"#!AMR\n\x3c\x91", ".amr"),
    "AMR, wide band": (b"#!AMR-WB\n\x3c", ".amr"),
    "MIDI": (b"MThd\x00\x00\x00\x06", ".mid"),
    "MIDI in RIFF": (b"RIFF\x24\x08\x00\x00RMIDdata", ".mid"),
    "CAF": (b"caff\x00\x01\x00\x00desc", ".caf"),
    "Sun": (b".snd\x00\x00\x00\x18", ".au"),
    "WMA": (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", ".wma"),
    "3GP": (b"\x00\x00\x00\x18ftyp3gp5\x00\x00\x01\x00", ".m4a"),
    "MP3 with a tag": (b"ID3\x04\x00\x00\x00\x00\x00\x23TSSE\x00", ".mp3"),
}
KINDS = {
    "audio/mpeg": ".mp3",
    "audio/mp3": ".mp3",
    "audio/wav": ".wav",
    "audio/x-wav": ".wav",
    "audio/wave": ".wav",
    "audio/vnd.wave": ".wav",
    "audio/flac": ".flac",
    "audio/x-flac": ".flac",
    "audio/mp4": ".m4a",
    "audio/x-m4a": ".m4a",
    "video/mp4": ".m4a",
    "audio/ogg": ".ogg",
    "application/ogg": ".ogg",
    "audio/opus": ".opus",
    "audio/aac": ".aac",
    "audio/x-aiff": ".aiff",
    "audio/webm": ".webm",
    "video/webm": ".webm",
    "audio/x-matroska": ".mka",
    "audio/amr": ".amr",
    "audio/amr-wb": ".amr",
    "audio/midi": ".mid",
    "audio/x-caf": ".caf",
    "audio/basic": ".au",
    "audio/x-ms-wma": ".wma",
}
SILENT = (None, "application/octet-stream", "binary/octet-stream", "audio/unknown", "nonsense")
UNKNOWN = b"\x00\x01\x02\x03"


@pytest.mark.parametrize("beginning, extension", BEGINNINGS.values(), ids=BEGINNINGS)
@pytest.mark.parametrize("kind", [*SILENT, "audio/mpeg", "audio/wav"])
def test_the_first_bytes_decide_whatever_the_host_states(
    beginning: bytes, extension: str, kind: str | None
) -> None:
    # A tag is no evidence against another format.
    expected = ".wav" if beginning.startswith(b"ID3") and kind == "audio/wav" else extension
    assert extension_of(beginning, kind) == expected


@pytest.mark.parametrize("kind, extension", KINDS.items())
def test_the_media_type_decides_where_the_bytes_say_nothing(kind: str, extension: str) -> None:
    assert extension_of(UNKNOWN, kind) == extension


@pytest.mark.parametrize("kind", SILENT)
def test_nothing_is_guessed_from_nothing(kind: str | None) -> None:
    assert extension_of(UNKNOWN, kind) is None
    assert extension_of(b"\xff", kind) is None


@given(st.binary(max_size=64), st.none() | st.text() | st.sampled_from(list(KINDS)))
def test_every_suffix_is_one_that_files_may_have(beginning: bytes, kind: str | None) -> None:
    assert extension_of(beginning, kind) in (None, *EXTENSIONS)


def link_of(host: Host, suffix: str = "") -> str:
    return f"{host.url}/vocal{suffix}?Signature=hush"


async def saved(
    host: Host, folder: Path, *, suffix: str = "", on_event: Any = None, **options: Any
) -> DownloadReport:
    task = host.task(stems=Stems(vocal=link_of(host, suffix)))
    async with VocalSepClient("a-key", base_url=host.url, on_event=on_event) as client:
        return await client.download_stems(task, folder, **options)


@pytest.mark.anyio
class TestDownloads:
    @pytest.mark.parametrize("beginning, extension", BEGINNINGS.values(), ids=BEGINNINGS)
    @pytest.mark.parametrize("suffix", ["", ".bin"])
    async def test_a_file_is_saved_under_the_suffix_of_its_content(
        self, beginning: bytes, extension: str, suffix: str, tmp_path: Path
    ) -> None:
        with Host(Answer(beginning + AUDIO, kind=None)) as host:
            report = await saved(host, tmp_path, suffix=suffix)
        assert report.paths == {"vocal": tmp_path / TASK_ID / f"vocal{extension}"}
        assert report.paths["vocal"].read_bytes() == beginning + AUDIO
        assert hidden_below(tmp_path) == []

    @pytest.mark.parametrize("kind, name", [("audio/wav", "vocal.wav"), (None, "vocal.mp3")])
    async def test_a_file_is_saved_under_the_suffix_of_its_media_type_or_as_mp3(
        self, kind: str | None, name: str, tmp_path: Path
    ) -> None:
        with Host(Answer(kind=kind)) as host:
            report = await saved(host, tmp_path)
        assert report.paths["vocal"].name == name

    async def test_the_suffix_of_a_link_is_kept(self, tmp_path: Path) -> None:
        with Host(Answer(BEGINNINGS["WAV"][0] + AUDIO, kind="audio/wav")) as host:
            report = await saved(host, tmp_path, suffix=".flac")
        assert report.paths["vocal"].name == "vocal.flac"

    @pytest.mark.parametrize(
        "template, name",
        [
            ("{task_id}-{stem}.mp3", "task-1-vocal.mp3"),
            ("{stem}", "vocal"),
            ("{ext}/{stem}{ext}", ".wav/vocal.wav"),
        ],
    )
    async def test_a_template_decides_where_the_suffix_goes(
        self, template: str, name: str, tmp_path: Path
    ) -> None:
        with Host(Answer(kind="audio/wav")) as host:
            for was_fetched in (True, False):
                report = await saved(host, tmp_path, template=template)
                assert report.paths["vocal"] == tmp_path / name
                assert report.files[0].was_fetched is was_fetched
        assert (tmp_path / name).read_bytes() == AUDIO

    @pytest.mark.parametrize("overwrite", get_args(Overwrite))
    async def test_a_file_is_found_again_under_its_suffix(
        self, overwrite: Overwrite, tmp_path: Path
    ) -> None:
        with Host(Answer(kind="audio/wav")) as host:
            await saved(host, tmp_path)
            again = await saved(host, tmp_path, overwrite=overwrite)
        assert again.files[0].was_fetched is (overwrite == "always")
        assert again.paths["vocal"].name == "vocal.wav"
        assert len(host.requests) == 1 + (overwrite == "always")

    async def test_a_file_that_was_resumed_has_the_suffix_of_its_content(
        self, tmp_path: Path
    ) -> None:
        target = tmp_path / TASK_ID / "vocal.mp3"
        target.parent.mkdir()
        half_of(target, evolve(IDENTITY, content_type="audio/wav"))
        with Host(Answer(kind=None)) as host:
            report = await saved(host, tmp_path)
        assert [request.range for request in host.requests] == [f"bytes={HALF}-"]
        assert report.paths["vocal"].name == "vocal.wav"
        assert report.paths["vocal"].read_bytes() == AUDIO

    async def test_the_last_report_and_event_name_the_file_as_it_is_saved(
        self, tmp_path: Path
    ) -> None:
        seen: list[DownloadProgress] = []
        events: list[object] = []
        with Host(Answer(kind="audio/wav")) as host:
            await saved(host, tmp_path, on_progress=seen.append, on_event=events.append)
        folder = tmp_path / TASK_ID
        assert seen[-1].path == folder / "vocal.wav"
        assert [each.path for each in events if isinstance(each, StemSaved)] == [seen[-1].path]
        assert [each.path for each in events if isinstance(each, StemStarted)] == [
            folder / "vocal.mp3"
        ]
