"""The command that separates songs, against the emulator."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cli.in_process import assert_error, call, signal_before_the_loop
from cli.songs.commands import CREATE, UPLOAD, sent, separate, songs_in

from vocalsep_async import ServerError, SongProgress, TaskStatus, VocalSepClient
from vocalsep_async._journal.store import Store
from vocalsep_async.emulator import Emulator, Fault

LINK = "https://songs.example/live/tune.mp3?signature=secret"


@pytest.fixture
def vocalsep_emulator_options() -> dict[str, Any]:
    return {"rate_limit": None, "speed": 1000}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a folder of two songs."""
    monkeypatch.chdir(tmp_path)
    songs_in(tmp_path / "songs", "One.mp3", "Two.mp3")
    return tmp_path


def saved(folder: Path, to: str = "stems") -> set[str]:
    return {path.relative_to(folder / to).as_posix() for path in (folder / to).rglob("*.wav")}


def on_first(
    monkeypatch: pytest.MonkeyPatch, state: str, act: Callable[[SongProgress], object]
) -> None:
    """Have *act* called when a song is in that state for the first time."""
    separate_many = VocalSepClient.separate_many
    acted: list[str] = []

    def separating(client: VocalSepClient, *arguments: Any, **options: Any) -> Any:
        tell = options.pop("on_progress")

        def on_progress(progress: SongProgress) -> None:
            if progress.state == state and not acted:
                acted.append(state)
                act(progress)
            tell(progress)

        return separate_many(client, *arguments, on_progress=on_progress, **options)

    monkeypatch.setattr(VocalSepClient, "separate_many", separating)


def fail_first(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the first task that is created fail."""
    status = TaskStatus.GENERATE_AUDIO_FAILED
    on_first(monkeypatch, "waiting", lambda told: emulator.fail(str(told.task_id), status=status))


def lose_first(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the first creation carried out, and its answer get lost."""
    on_first(monkeypatch, "creating", lambda _told: emulator.inject(Fault.UNANSWERED))


STEMS = {
    *("One/vocal.wav", "One/instrumental.wav"),
    *("Two/vocal.wav", "Two/instrumental.wav"),
}


# A run


def test_a_folder_of_songs_becomes_folders_of_stems(
    vocalsep_emulator: Emulator, here: Path
) -> None:
    result = separate(vocalsep_emulator, "songs", "--yes")
    assert result.exit_code == 0
    lines = sorted(result.stdout.splitlines())
    assert [line.split("  ")[0] for line in lines] == ["One", "Two"]
    assert all(line.endswith("SUCCESS  saved: instrumental, vocal") for line in lines)
    assert saved(here) == STEMS
    assert sent(vocalsep_emulator, CREATE) == 2
    price, _, account, counts, tasks, cost = result.stderr.splitlines()
    assert price == "2 songs: 2 to be created"
    assert account == "the account has 1,000 credits"
    assert counts == "2 songs: 2 done"
    assert tasks.startswith("tasks: 2 created; 4 stems saved; ")
    assert cost == (
        "about 20 credits spent; the account has 980 credits, 20 credits less than before"
    )


def test_the_same_command_again_pays_for_nothing_and_needs_no_agreement(
    vocalsep_emulator: Emulator, here: Path
) -> None:
    separate(vocalsep_emulator, "songs", "--yes")
    requests = len(vocalsep_emulator.requests)
    result = separate(vocalsep_emulator, "songs")
    assert result.exit_code == 0
    assert saved(here) == STEMS
    # Only what the account has is asked for, before and after.
    assert len(vocalsep_emulator.requests) == requests + 2
    assert result.stderr.splitlines() == [
        f"continuing with {Path('stems', 'songs.journal')}",
        "2 songs: 2 known to the journal",
        "the account has 980 credits",
        "2 songs: 2 done",
        "tasks: 2 known; 4 stems saved; 0 requests, 0 throttled",
        "about 0 credits spent; the account has 980 credits",
    ]


def test_only_what_is_new_in_a_folder_is_paid_for(vocalsep_emulator: Emulator, here: Path) -> None:
    separate(vocalsep_emulator, "songs", "--yes")
    songs_in(here / "songs", "Three.mp3")
    result = separate(vocalsep_emulator, "songs", "--yes")
    assert "3 songs: 1 to be created, 2 known to the journal" in result.stderr
    assert sent(vocalsep_emulator, CREATE) == 3


def test_the_folder_of_the_stems_may_be_among_the_songs(
    vocalsep_emulator: Emulator, here: Path
) -> None:
    for _ in range(2):
        assert separate(vocalsep_emulator, ".", "--yes").exit_code == 0
    assert sent(vocalsep_emulator, CREATE) == 2
    assert saved(here) == STEMS


def test_stems_beside_the_songs_are_no_songs(vocalsep_emulator: Emulator, here: Path) -> None:
    # In the folder itself, in one below it, and named after songs alone.
    for words in (
        ("songs", "--to", "songs"),
        ("songs", "--to", "songs/out", "--type", "split_stem", "--stem", "drums"),
        ("songs", "--to", "songs/flat", "--stem", "vocal", "--template", "{label}{ext}"),
        ("songs", "--to", "songs", "--template", "{task_id} {stem}{ext}"),
    ):
        assert separate(vocalsep_emulator, *words, "--yes").exit_code == 0
    for folder in ("songs", ".", "songs/One.mp3"):
        result = separate(vocalsep_emulator, folder, "--dry-run")
        assert len(result.stdout.splitlines()) == (4 if folder == "songs/One.mp3" else 5)
    Path("link").symlink_to(here / "songs" / "One")
    for folder in ("songs/One", "songs/../songs/One", "link"):
        assert_error(separate(vocalsep_emulator, folder, "--dry-run"), "holds no songs")


def test_a_song_and_its_copy_are_paid_for_once(vocalsep_emulator: Emulator, here: Path) -> None:
    (here / "songs" / "Copy.mp3").write_bytes((here / "songs" / "One.mp3").read_bytes())
    result = separate(vocalsep_emulator, "songs", "songs/Two.mp3", "--yes")
    assert result.exit_code == 0
    assert "1 song given twice: once is enough" in result.stderr
    assert "3 songs: 2 to be created, 1 the same as another one" in result.stderr
    assert "tasks: 2 created, 1 joined" in result.stderr
    assert sent(vocalsep_emulator, CREATE) == 2


def test_links_are_separated_without_an_upload_host(
    vocalsep_emulator: Emulator, here: Path
) -> None:
    result = separate(vocalsep_emulator, LINK, "--yes", VOCALSEP_UPLOAD_URL=None)
    assert result.exit_code == 0
    assert saved(here) == {"tune/vocal.wav", "tune/instrumental.wav"}
    assert "secret" not in result.output


def test_options_say_what_is_made_and_where_it_goes(
    vocalsep_emulator: Emulator, here: Path
) -> None:
    result = separate(
        vocalsep_emulator,
        *("songs", "--yes", "--type", "split_stem", "--to", "out", "--stem", "drums"),
        *("--template", "{label}{ext}", "--journal", "paid.journal"),
    )
    assert result.exit_code == 0
    assert saved(here, "out") == {"One.wav", "Two.wav"}
    assert Path("paid.journal").exists()
    assert "split_stem: 2 × 50 credits = 100 credits" in result.stderr
    assert "the account has 900 credits" in result.stderr


def test_a_list_says_what_each_song_becomes(vocalsep_emulator: Emulator, here: Path) -> None:
    Path("songs.csv").write_text(
        f"source,label,type\nsongs/One.mp3,Für Elise,split_stem\n{LINK},,\n", "utf-8"
    )
    result = separate(vocalsep_emulator, "songs.csv", "--yes", "--stem", "vocal")
    assert result.exit_code == 0
    assert saved(here) == {"Für Elise/vocal.wav", "tune/vocal.wav"}
    assert "60 credits in all" in result.stderr


def test_json_has_an_object_for_each_song(vocalsep_emulator: Emulator, here: Path) -> None:
    result = separate(vocalsep_emulator, "songs", "--yes", "--json")
    outcomes = {row["label"]: row for row in map(json.loads, result.stdout.splitlines())}
    assert set(outcomes) == {"One", "Two"}
    assert all(row["succeeded"] and row["files"] for row in outcomes.values())


def test_a_report_shows_the_songs(
    vocalsep_emulator: Emulator, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_first(vocalsep_emulator, monkeypatch)
    result = separate(vocalsep_emulator, "songs", "--yes", "--report", "report.html")
    assert result.exit_code == 1
    page = Path("report.html").read_text("utf-8")
    assert "One" in page
    assert "Two" in page
    assert result.stderr.splitlines()[-1] == f"report: {here / 'report.html'}"


# What it costs


def test_without_a_terminal_the_cost_must_be_agreed_to(vocalsep_emulator: Emulator) -> None:
    result = separate(vocalsep_emulator, "songs")
    words = "2 songs for 20 credits: add --yes to agree, since there is no terminal to ask on"
    assert_error(result, words)
    assert vocalsep_emulator.requests == ()


def test_a_dry_run_prints_songs_and_prices_and_sends_nothing(
    vocalsep_emulator: Emulator, here: Path
) -> None:
    result = separate(vocalsep_emulator, "songs", "--dry-run", VOCALSEP_API_KEY=None)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "One  separate_vocal  to be created, 10 credits",
        "Two  separate_vocal  to be created, 10 credits",
        "2 songs: 2 to be created",
        (
            "  separate_vocal: 2 × 10 credits = 20 credits, as a copy of docs.sunoapi.org said on "
            "2026-11-30"
        ),
        "nothing was sent",
    ]
    assert vocalsep_emulator.requests == ()
    assert not Path("stems").exists()


def test_a_dry_run_in_json_has_an_object_for_each_song(vocalsep_emulator: Emulator) -> None:
    separate(vocalsep_emulator, "songs/One.mp3", "--yes")
    result = separate(vocalsep_emulator, "songs", "--dry-run", "--json")
    rows = list(map(json.loads, result.stdout.splitlines()))
    assert [(row["label"], row["state"], row["credits"]) for row in rows] == [
        ("One", "known", 0.0),
        ("Two", "new", 10.0),
    ]
    assert result.stderr.splitlines()[-1] == "nothing was sent"


@pytest.mark.parametrize("provider, price", [("kie", "10 credits"), ("apikley", "not known")])
def test_the_price_is_that_of_the_provider(
    vocalsep_emulator: Emulator, provider: str, price: str
) -> None:
    words = ("--provider", provider, "separate", "--dry-run", LINK)
    assert price in call(vocalsep_emulator, *words).stdout


def test_a_limit_ends_the_creations_and_the_same_command_goes_on(
    vocalsep_emulator: Emulator,
) -> None:
    result = separate(vocalsep_emulator, "songs", "--yes", "--max-credits", "15")
    assert result.exit_code == 1
    assert "2 songs: 1 done, 1 not begun" in result.stderr
    (line,) = (line for line in result.stdout.splitlines() if "no task" in line)
    assert "--max-credits is 15" in line
    assert sent(vocalsep_emulator, CREATE) == sent(vocalsep_emulator, UPLOAD) == 1
    assert separate(vocalsep_emulator, "songs", "--yes").exit_code == 0
    assert sent(vocalsep_emulator, CREATE) == 2


def test_a_limit_needs_a_price(vocalsep_emulator: Emulator) -> None:
    words = ("--provider", "apikley", "separate", LINK, "--yes", "--max-credits", "15")
    result = call(vocalsep_emulator, *words)
    assert_error(result, "a price is not known at this provider", "--max-credits")
    assert sent(vocalsep_emulator, CREATE) == 0


class TestOfAnEmptyAccount:
    """What becomes of songs for which the credits are not enough."""

    @pytest.fixture
    def vocalsep_emulator_options(self) -> dict[str, Any]:
        return {"rate_limit": None, "speed": 1000, "credits": 10}

    def test_the_end_of_the_credits_ends_the_creations(self, vocalsep_emulator: Emulator) -> None:
        result = separate(vocalsep_emulator, "songs", "--yes")
        assert result.exit_code == 3
        assert "the account has 10 credits: enough for 1 of 2" in result.stderr
        assert "1 done" in result.stderr
        assert "the account has 0 credits, 10 credits less than before" in result.stderr


def test_a_balance_that_differs_from_the_count_is_said(
    vocalsep_emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    balances = iter([1000.0, 930.0])

    async def get_credits(_client: VocalSepClient, **_options: Any) -> float:
        return next(balances)

    monkeypatch.setattr(VocalSepClient, "get_credits", get_credits)
    result = separate(vocalsep_emulator, "songs", "--yes")
    assert result.exit_code == 0
    assert "70 credits less than before, and 50 credits more than counted: " in result.stderr


def test_songs_are_separated_although_the_account_says_nothing(
    vocalsep_emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def get_credits(_client: VocalSepClient, **_options: Any) -> float:
        raise ServerError("no", code=500, http_status=200)

    monkeypatch.setattr(VocalSepClient, "get_credits", get_credits)
    result = separate(vocalsep_emulator, "songs", "--yes")
    assert result.exit_code == 0
    assert result.stderr.count("what the account has is not known: ") == 2
    assert result.stderr.splitlines()[-1] == "about 20 credits spent"


# Failures


@pytest.mark.parametrize(
    "words, message",
    [
        (("none.mp3",), "none.mp3: there is no such file or folder"),
        (("songs", "--stem", "vocals"), "did you mean vocal"),
        (("songs", "--template", "{stem}{ext}"), "--template must contain {task_id} or {label}"),
        (("songs", "--stem-name", "guitar"), "--stem-name is for --type split_stem_advanced"),
        (("songs", "--to", "songs/One.mp3"), "a file is where a folder is needed"),
        (("songs", "--report", "songs"), "Is a directory"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_sent(
    vocalsep_emulator: Emulator, words: tuple[str, ...], message: str
) -> None:
    assert_error(separate(vocalsep_emulator, *words, "--yes"), message)
    assert vocalsep_emulator.requests == ()


def test_an_instrument_needs_its_type_in_a_list_too(vocalsep_emulator: Emulator) -> None:
    Path("songs.csv").write_text(f"source,stem_name\n{LINK},guitar\n")
    result = separate(vocalsep_emulator, "songs.csv", "--yes")
    assert_error(result, "songs.csv, line 2: a stem_name is for the type split_stem_advanced alone")


def test_an_instrument_is_extracted(vocalsep_emulator: Emulator) -> None:
    words = ("songs/One.mp3", "--type", "split_stem_advanced", "--stem-name", "guitar", "--yes")
    assert separate(vocalsep_emulator, *words).exit_code == 0


@pytest.mark.parametrize("words", [("--yes",), ("--dry-run",)])
def test_files_need_an_upload_host(vocalsep_emulator: Emulator, words: tuple[str, ...]) -> None:
    result = separate(vocalsep_emulator, "songs", *words, VOCALSEP_UPLOAD_URL=None)
    assert_error(result, "no upload host is known for this API: set VOCALSEP_UPLOAD_URL")
    assert vocalsep_emulator.requests == ()


class TestOfAnotherKey:
    """An account that the API rejects."""

    @pytest.fixture
    def vocalsep_emulator_options(self) -> dict[str, Any]:
        return {"rate_limit": None, "speed": 1000, "api_key": "another-key-0123456789"}

    def test_a_rejected_key_ends_the_command_before_anything_is_uploaded(
        self, vocalsep_emulator: Emulator
    ) -> None:
        result = separate(vocalsep_emulator, "songs", "--yes")
        assert_error(result, "401", status=3)
        assert sent(vocalsep_emulator, UPLOAD) == sent(vocalsep_emulator, CREATE) == 0


def test_a_song_that_fails_is_said_and_does_not_affect_the_others(
    vocalsep_emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_first(vocalsep_emulator, monkeypatch)
    result = separate(vocalsep_emulator, "songs", "--yes")
    assert result.exit_code == 1
    assert "2 songs: 1 done, 1 failed" in result.stderr
    assert "GENERATE_AUDIO_FAILED" in result.stdout
    again = separate(vocalsep_emulator, "songs")
    assert again.exit_code == 1
    assert sent(vocalsep_emulator, CREATE) == 2


def test_a_song_that_failed_is_created_again_if_that_is_asked_for(
    vocalsep_emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_first(vocalsep_emulator, monkeypatch)
    separate(vocalsep_emulator, "songs", "--yes")
    # It is billed, and so it has to be agreed to.
    assert_error(separate(vocalsep_emulator, "songs", "--resubmit", "1"), "1 song for 10 credits")
    assert separate(vocalsep_emulator, "songs", "--resubmit", "1", "--yes").exit_code == 0
    assert sent(vocalsep_emulator, CREATE) == 3


@pytest.mark.parametrize("vocalsep_emulator_options", [{"rate_limit": None, "speed": 1}])
def test_a_task_that_takes_too_long_is_exit_code_4(vocalsep_emulator: Emulator) -> None:
    slow = separate(vocalsep_emulator, "songs", "--yes", "--timeout", "0")
    assert slow.exit_code == 4
    assert "2 songs: 2 timed out" in slow.stderr
    for task_id in vocalsep_emulator.tasks:
        vocalsep_emulator.finish(task_id)
    assert separate(vocalsep_emulator, "songs").exit_code == 0
    assert sent(vocalsep_emulator, CREATE) == 2


def test_songs_that_may_have_been_created_are_listed_and_left_alone(
    vocalsep_emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_first(vocalsep_emulator, monkeypatch)
    result = separate(vocalsep_emulator, "songs", "--yes")
    assert result.exit_code == 1
    assert "2 songs: 1 done, 1 uncertain" in result.stderr
    assert "1 song may have been created and billed, with unknown ids:" in result.stderr
    assert "about 20 credits spent" in result.stderr
    again = separate(vocalsep_emulator, "songs")
    assert again.exit_code == 1
    assert "1 known to the journal, 1 uncertain, and left alone" in again.stderr
    assert sent(vocalsep_emulator, CREATE) == 2
    assert_error(
        separate(vocalsep_emulator, "songs", "--on-uncertain", "create"), "1 song for 10 credits"
    )
    create = separate(vocalsep_emulator, "songs", "--on-uncertain", "create", "--yes")
    assert create.exit_code == 0
    assert sent(vocalsep_emulator, CREATE) == 3


def test_a_journal_that_is_in_use_ends_the_command_before_any_request(
    vocalsep_emulator: Emulator,
) -> None:
    Path("stems").mkdir()
    with closing(Store.open(Path("stems", "songs.journal"))):
        result = separate(vocalsep_emulator, "songs", "--yes")
    assert_error(result, "songs.journal is in use by ")
    assert vocalsep_emulator.requests == ()


def test_a_journal_of_another_api_ends_the_command_before_anything_is_uploaded(
    vocalsep_emulator: Emulator,
) -> None:
    separate(vocalsep_emulator, "songs/One.mp3", "--yes")
    with closing(Store.open(Path("stems", "songs.journal"))) as store:
        store.apply([("UPDATE meta SET value = ? WHERE name = 'base_url'", ("https://x.org",))])
    result = separate(vocalsep_emulator, "songs", "--yes")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "x.org" in result.stderr.splitlines()[-1]
    assert "spent" not in result.stderr
    assert sent(vocalsep_emulator, UPLOAD) == sent(vocalsep_emulator, CREATE) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda each: each.name)
def test_a_signal_before_the_event_loop_runs_prevents_every_request(
    vocalsep_emulator: Emulator, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    signal_before_the_loop(monkeypatch, number)
    result = separate(vocalsep_emulator, "songs", "--yes")
    assert result.exit_code == 130
    assert result.stderr.splitlines() == ["interrupted; nothing was created"]
    assert vocalsep_emulator.requests == ()


@pytest.mark.parametrize("state", ["uploading", "creating", "waiting", "saving"])
def test_a_signal_during_a_run_says_how_to_go_on(
    vocalsep_emulator: Emulator, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    on_first(monkeypatch, state, lambda _told: os.kill(os.getpid(), signal.SIGINT))
    result = separate(vocalsep_emulator, "songs", "--yes", "--report", "report.html")
    assert result.exit_code == 130
    *_, advice, report = result.stderr.splitlines()
    assert advice == (
        f"interrupted; progress is kept in {Path('stems', 'songs.journal')}: run the same command "
        "again to continue, and nothing is paid for twice"
    )
    assert report.startswith("report: ")
    assert separate(vocalsep_emulator, "songs", "--yes").exit_code == 0
    assert sent(vocalsep_emulator, CREATE) == 2


def test_a_signal_before_a_dry_run_prints_nothing(
    vocalsep_emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    signal_before_the_loop(monkeypatch)
    result = separate(vocalsep_emulator, "songs", "--dry-run")
    assert (result.exit_code, result.output) == (130, "")


def test_the_cost_of_a_run_that_an_error_ends_is_said(
    vocalsep_emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> None:
        raise OSError(28, "No space left on device", "standard output")

    monkeypatch.setattr("vocalsep_async.cli.songs.view.outcome_line", fail)
    result = separate(vocalsep_emulator, "songs/One.mp3", "--yes")
    assert result.exit_code == 2
    assert "about 10 credits spent" in result.stderr
    assert result.stderr.splitlines()[-1] == "standard output: No space left on device"
