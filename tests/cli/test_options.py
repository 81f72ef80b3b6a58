"""The global options, and the secrecy of the key."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cli.in_process import assert_error, call
from cli.subprocesses import KEY, ended, first_line, started, vocalsep

from vocalsep_async import InvalidArgumentError
from vocalsep_async.cli.options import check_stems
from vocalsep_async.emulator import Emulator
from vocalsep_async.models import STEM_NAMES

OTHER_KEY = "sk-fedcba9876543210"
POSIX = pytest.mark.skipif(os.name != "posix", reason="there are no modes of files")


@pytest.fixture
def vocalsep_emulator_options() -> dict[str, Any]:
    return {"rate_limit": None, "speed": 1000, "api_key": OTHER_KEY}


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "a key"
    file.touch(0o600)
    return file


def asked_with(emulator: Emulator, file: Path) -> Any:
    result = call(emulator, "--key-file", file, "credits")
    assert OTHER_KEY not in result.output
    return result


@pytest.mark.parametrize("content", ["{}", "{}\n", "\ufeff{}\r\n", "\n  {}  \n\n"])
def test_the_key_file_overrides_the_environment(
    vocalsep_emulator: Emulator, key_file: Path, content: str
) -> None:
    key_file.write_text(content.format(OTHER_KEY), "utf-8")
    assert call(vocalsep_emulator, "credits").exit_code == 3
    assert asked_with(vocalsep_emulator, key_file).exit_code == 0


def test_the_key_file_replaces_the_environment_variable(
    vocalsep_emulator: Emulator, key_file: Path
) -> None:
    key_file.write_text(OTHER_KEY)
    words = ("--key-file", key_file, "credits")
    result = call(vocalsep_emulator, *words, environ={"VOCALSEP_API_KEY": None})
    assert result.exit_code == 0


@POSIX
@pytest.mark.parametrize("mode", [0o400, 0o600, 0o700])
def test_a_key_file_for_its_owner_only_is_read(
    vocalsep_emulator: Emulator, key_file: Path, mode: int
) -> None:
    key_file.write_text(OTHER_KEY)
    key_file.chmod(mode)
    assert asked_with(vocalsep_emulator, key_file).exit_code == 0


@POSIX
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o660, 0o666, 0o644, 0o777])
def test_a_key_file_open_to_other_users_is_refused_with_advice(
    vocalsep_emulator: Emulator, key_file: Path, mode: int
) -> None:
    key_file.write_text(OTHER_KEY)
    key_file.chmod(mode)
    assert_error(asked_with(vocalsep_emulator, key_file), f"chmod 600 {key_file}")
    assert vocalsep_emulator.requests == ()
    key_file.chmod(0o600)
    assert asked_with(vocalsep_emulator, key_file).exit_code == 0


@pytest.mark.parametrize("content", [b"", b" \r\n\n", b"\xff\xfe\x00k", b"\xef\xbb\xbf"])
def test_a_key_file_without_a_key_is_reported(
    vocalsep_emulator: Emulator, key_file: Path, content: bytes
) -> None:
    key_file.write_bytes(content)
    assert_error(asked_with(vocalsep_emulator, key_file), str(key_file), "contains no key")
    assert vocalsep_emulator.requests == ()


@pytest.mark.parametrize("content", [f"{OTHER_KEY}\n{OTHER_KEY}", f"key={OTHER_KEY} x", "\x00k"])
def test_a_key_file_with_other_text_is_refused_and_not_printed(
    vocalsep_emulator: Emulator, key_file: Path, content: str
) -> None:
    key_file.write_text(content)
    assert_error(asked_with(vocalsep_emulator, key_file), "api_key")
    debugged = call(vocalsep_emulator, "--debug", "--key-file", key_file, "credits")
    assert OTHER_KEY not in debugged.output


def test_a_missing_file_is_reported(vocalsep_emulator: Emulator, tmp_path: Path) -> None:
    assert_error(
        asked_with(vocalsep_emulator, tmp_path / "none"), "none: No such file or directory"
    )


@POSIX
@pytest.mark.parametrize("mode", [0o700, 0o755])
def test_a_folder_as_key_file_is_refused_without_advice_on_its_mode(
    vocalsep_emulator: Emulator, tmp_path: Path, mode: int
) -> None:
    folder = tmp_path / "keys"
    folder.mkdir()
    folder.chmod(mode)
    result = asked_with(vocalsep_emulator, folder)
    assert_error(result, str(folder), "Is a directory")
    # With that mode, a folder cannot be entered.
    assert "chmod 600" not in result.stderr


def test_a_missing_key_is_reported_with_the_variable_to_set(
    vocalsep_emulator: Emulator,
) -> None:
    for words in (
        ("get", "an-id"),
        ("wait", "an-id"),
        ("track", "an-id"),
        ("download", "an-id", "--to", "stems"),
        ("credits",),
        ("create", "--callback-url", "https://e.com/", "--audio-url", "https://e.com/a.mp3"),
    ):
        result = call(vocalsep_emulator, *words, environ={"VOCALSEP_API_KEY": None})
        assert_error(
            result, "no API key: set the environment variable VOCALSEP_API_KEY, or use --key-file"
        )
        for key in ("", " "):
            result = call(vocalsep_emulator, *words, environ={"VOCALSEP_API_KEY": key})
            assert_error(
                result, "the environment variable VOCALSEP_API_KEY is empty: ", "--key-file"
            )


def test_an_invalid_base_url_is_reported_without_its_password(vocalsep_emulator: Emulator) -> None:
    environ: dict[str, str | None] = {"VOCALSEP_BASE_URL": f"ftp://{OTHER_KEY}@host"}
    result = call(vocalsep_emulator, "credits", environ=environ)
    assert_error(result, "VOCALSEP_BASE_URL must be a URL")
    assert OTHER_KEY not in result.output


def test_a_blank_base_url_is_refused_and_not_replaced_by_the_real_api(
    vocalsep_emulator: Emulator,
) -> None:
    for address in ("", " "):
        environ: dict[str, str | None] = {"VOCALSEP_BASE_URL": address}
        result = call(vocalsep_emulator, "credits", environ=environ)
        assert_error(result, "VOCALSEP_BASE_URL is empty", "unset it")


# The key appears nowhere; `ended` checks standard output and standard error.


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    async with Emulator(rate_limit=None, speed=1000, api_key=KEY) as emulator:
        yield emulator


def command_line_of(process: int) -> str:
    """The command line as other users of the machine see it."""
    shown = Path("/proc", str(process), "cmdline")
    if not shown.exists():
        return ""
    words = shown.read_text()
    assert "--key-file" in words
    return words


def files_below(folder: Path) -> list[Path]:
    return [each for each in folder.rglob("*") if each.is_file()]


@pytest.mark.anyio
async def test_the_key_is_in_no_file_and_on_no_command_line(
    emulator: Emulator, tmp_path: Path
) -> None:
    key_file, work = tmp_path / "key", tmp_path / "work"
    key_file.touch(0o600)
    key_file.write_text(KEY)
    work.mkdir()
    done, still = emulator.add_task(duration=0), emulator.add_task(duration=float("inf"))
    process = await started(
        emulator,
        *("--debug", "--key-file", str(key_file), "track", done, still, "--json"),
        *("--journal", "batch.journal", "--to", "stems", "--report", "report.html"),
        environ={"VOCALSEP_API_KEY": ""},
        cwd=work,
    )
    assert json.loads(await first_line(process))["succeeded"]
    assert KEY not in command_line_of(process.pid)
    process.send_signal(signal.SIGTERM)
    assert (await ended(process)).status == 130
    kept = files_below(work)
    assert {"batch.journal", "report.html", "vocal.wav"} <= {each.name for each in kept}
    for each in kept:
        assert KEY.encode() not in each.read_bytes(), each
        assert KEY not in str(each)


@pytest.mark.anyio
async def test_the_key_is_in_no_traceback(emulator: Emulator, tmp_path: Path) -> None:
    from vocalsep_async.emulator import Fault

    emulator.inject(Fault.UNAUTHORIZED, 1)
    process = await started(emulator, "--debug", "credits", cwd=tmp_path)
    out, err = await process.communicate()
    assert process.returncode == 3
    assert b"Traceback" in err
    assert KEY.encode() not in out + err


@pytest.mark.anyio
async def test_no_option_takes_the_key_as_an_argument(emulator: Emulator) -> None:
    shown = "".join((await vocalsep(emulator, "--help")).out)
    assert "--key-file" in shown
    assert "--api-key" not in shown


# Names of stems


@pytest.mark.parametrize("name", [*STEM_NAMES, "lead_vocal", "drums_extract", "oud"])
def test_a_name_that_a_task_may_have_is_accepted(name: str) -> None:
    check_stems(["vocal", name])


@pytest.mark.parametrize(
    "name, meant",
    [
        ("vocals", "vocal"),
        ("drumz", "drums"),
        ("Vocal", "vocal"),
        ("back_vocals", "backing_vocals"),
    ],
)
def test_a_mistyped_name_is_refused_with_the_right_one(name: str, meant: str) -> None:
    with pytest.raises(InvalidArgumentError, match=rf"'{name}'; did you mean {meant}\?"):
        check_stems(["vocal", name])


# The provider


@pytest.mark.anyio
async def test_the_provider_decides_what_answers_mean() -> None:
    async with Emulator(provider="kie_jobs", rate_limit=None, speed=1000) as emulator:
        task_id = emulator.add_task(duration=0)
        run = await vocalsep(emulator, "--provider", "kie_jobs", "get", task_id)
        assert (run.status, run.out[0]) == (0, f"{task_id}  SUCCESS")
        assert (await vocalsep(emulator, "get", task_id)).status == 1


def test_an_unknown_provider_is_refused_with_those_there_are(vocalsep_emulator: Emulator) -> None:
    result = call(vocalsep_emulator, "--provider", "kei", "credits")
    assert_error(result, "no provider 'kei'", "sunoapi, kie, kie_jobs, apikley")
    assert vocalsep_emulator.requests == ()


@pytest.mark.parametrize(
    "address", ["https://api.sunoapi.org", "https://API.SUNOAPI.ORG", "https://api.apikley.ru/"]
)
def test_a_provider_at_the_address_of_another_is_refused(
    vocalsep_emulator: Emulator, address: str
) -> None:
    environ: dict[str, str | None] = {"VOCALSEP_BASE_URL": address}
    result = call(vocalsep_emulator, "--provider", "kie_jobs", "credits", environ=environ)
    assert_error(result, "kie_jobs is not at api.", "set VOCALSEP_BASE_URL to https://api.kie.ai")
