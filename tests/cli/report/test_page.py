"""The page as HTML: its contents, its security, and how it is written."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from cli.report.reports import (
    at,
    failed_task,
    outcome,
    restored,
    run,
    sample,
    task,
    timed,
    with_files,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from vocalsep_async import SeparationType, Stems, TaskStatus
from vocalsep_async.cli.report import Peaks, Run, page, write_report
from vocalsep_async.models import STEM_NAMES

HOSTILE = "</script><script>window.hacked=1</script>\"'><img src=x onerror=window.hacked=1>{{7*7}}"


class ParsedPage(HTMLParser):
    """The tags and the text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.content: dict[str, list[str]] = {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags:
            self.content.setdefault(self.tags[-1][0], []).append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def html_of(given: Run, peaks: dict[Path, Peaks] | None = None) -> str:
    return page.render(given, Path("/reports"), peaks or {})


def waveforms(text: str) -> Any:
    found = re.search(
        r'<script type="application/json" id="waveforms">(.*?)</script>', text, re.DOTALL
    )
    assert found
    return json.loads(found[1])


def test_the_page_loads_no_other_resource() -> None:
    text = html_of(run(timed(with_files(1, Path("/reports/stems")))))
    parsed = ParsedPage(text)
    assert not {"link", "img", "iframe", "object", "embed", "base"} & {
        tag for tag, _ in parsed.tags
    }
    assert not [script for script in parsed.all("script") if "src" in script]
    assert "@import" not in text
    assert "url(" not in text


def test_the_security_policy_permits_only_the_script_and_style_of_the_page() -> None:
    text = html_of(run(timed(task())))
    (policy,) = (
        each["content"]
        for each in ParsedPage(text).all("meta")
        if each.get("http-equiv") == "Content-Security-Policy"
    )
    for tag in ("script", "style"):
        (inline,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}';" in (policy or "")
    assert (policy or "").startswith("default-src 'none'; base-uri 'none'; form-action 'none';")
    assert "unsafe" not in (policy or "")


def test_no_element_has_a_style_or_a_handler_of_its_own() -> None:
    text = html_of(run(timed(with_files(1, Path("/stems"))), timed(failed_task())))
    for _, attributes in ParsedPage(text).tags:
        assert not [name for name in attributes if name == "style" or name.startswith("on")]


def test_the_page_contains_no_link_of_the_server() -> None:
    record = task(
        stems=Stems(vocal="https://files.example.com/v.mp3?signature=secret"),
        callback_url="https://me.example.com/hook?key=secret",
    )
    failed = failed_task(error_message="cannot parsed https://files.example.com/a?signature=secret")
    text = html_of(run(timed(record), timed(failed, label="https://x.example/y?token=secret")))
    assert "secret" not in text
    assert "https://" not in text


def test_a_label_is_shown_with_the_ends_of_the_id_and_nothing_else_of_either_is_lost() -> None:
    text = html_of(run(timed(task("5c79be8e" * 4), label="<b>Für Elise</b>")))
    assert "<bdi>&lt;b&gt;Für Elise&lt;/b&gt;</bdi></button><small><bdi>5c79be8e…be8e</bdi>" in text
    assert f"<dd><bdi>{'5c79be8e' * 4}</bdi></dd>" in text
    assert "<small><bdi>" not in html_of(run(timed(task("5c79be8e" * 4))))


def test_a_stem_that_was_not_saved_is_named() -> None:
    assert "Not saved: vocal." in html_of(run(timed(task())))


def test_each_stem_links_to_its_file() -> None:
    parsed = ParsedPage(
        html_of(run(timed(with_files(7, Path("/reports/st ems"), ("vocal", "fx")))))
    )
    hrefs = [each["href"] for each in parsed.all("a")][1:]
    assert hrefs == ["st%20ems/task-0007/vocal.wav", "st%20ems/task-0007/fx.wav"]


def test_the_waveforms_are_in_the_order_of_tasks_and_stems() -> None:
    ended = with_files(1, Path("/reports/stems"), ("vocal", "fx"))
    peaks = {ended.files["vocal"]: Peaks(b"\x00\xff", 2.0049)}
    text = html_of(run(timed(failed_task()), timed(ended)), peaks)
    assert waveforms(text) == [[], [["AP8=", 2.0], None]]


def test_the_page_shows_the_songs_before_the_statistics() -> None:
    text = html_of(run(timed(task(), label="Tin Roof")))
    places = [text.index(f'id="{each}-title"') for each in ("tasks", "statistics", "timeline")]
    assert places == sorted(places)


def shown(text: str) -> str:
    """The text of a page, and its labels for assistive technology."""
    text = re.sub(r"<(script|style)\b.*?</\1>", "", text, flags=re.DOTALL)
    labels = (each.get("aria-label") or "" for _, each in ParsedPage(text).tags)
    return re.sub(r"<[^>]*>", " ", text) + " ".join(labels)


def test_a_page_of_songs_counts_songs_and_a_page_of_tasks_tasks() -> None:
    titles = ("Tin Roof", "Apple")
    record = task("1")
    songs = shown(html_of(run(*(timed(record, label=each) for each in titles))))
    tasks = shown(html_of(run(*(timed(record) for each in titles))))
    assert "2 songs" in songs
    assert "tasks" not in songs
    assert "2 tasks" in tasks
    assert "song" not in tasks


def test_a_page_of_three_hundred_songs_is_small() -> None:
    names = tuple(STEM_NAMES)[:12]
    ended = [with_files(number, Path("/reports/stems"), names) for number in range(300)]
    peaks = {
        path: Peaks(bytes(range(120)), 240.0) for each in ended for path in each.files.values()
    }
    text = html_of(run(*(timed(each, label=f"Song {n}") for n, each in enumerate(ended))), peaks)
    # Of these, 160 bytes for each of 3600 waveforms, and a link for each stem.
    assert len(text) < 2_000_000
    assert "<audio" not in text


def test_a_table_marks_its_sort_order() -> None:
    parsed = ParsedPage(html_of(run(timed(task()))))
    sorts = {each["data-key"]: each["aria-sort"] for each in parsed.all("th") if "data-key" in each}
    assert sorts == {
        "order": "ascending",
        "name": "none",
        "status": "none",
        "duration": "none",
        "delay": "none",
    }


def test_the_page_has_the_note_of_its_run() -> None:
    assert "Twice as &lt;fast&gt;." in html_of(run(timed(task()), note="Twice as <fast>."))


def test_the_page_mentions_clock_skew_and_tasks_without_an_outcome() -> None:
    text = html_of(run(timed(task(), known=5), samples=(sample(1, 1, pending=2),)))
    assert "1 task finished, by the provider’s clock" in text
    assert "2 tasks had no outcome when the run ended, and are not listed" in text
    assert "1 task had no outcome when the run ended, and is not listed" in html_of(
        run(samples=(sample(1, 1, pending=1),))
    )


def test_an_outcome_from_the_journal_shows_no_detection() -> None:
    text = html_of(run(restored(task("old")), timed(task("new"))))
    assert text.count("<dt>Detected</dt><dd>–</dd>") == 1
    assert "1 task from the journal is left out: an earlier run detected the end." in text
    only = html_of(run(restored(task("a")), restored(task("b"))))
    assert "2 tasks from the journal are left out" in only
    assert "No task had an outcome in this run." in only
    assert "No delay is known." in only


@pytest.mark.parametrize(
    "unusual",
    [
        run(),
        run(restored(task())),
        run(samples=()),
        run(samples=(), ended_at=at(-1)),
        run(timed(task(created_at=None, completed_at=None))),
        run(timed(outcome(None))),
        run(timed(outcome(task(type=SeparationType.SPLIT_STEM)))),
        run(*(timed(failed_task(str(number))) for number in range(70))),
        run(timed(task(), known=-1e9)),
    ],
)
def test_an_unusual_run_has_a_page_without_placeholders(unusual: Run) -> None:
    text = html_of(unusual)
    visible = re.sub(r"<(script|style)\b.*?</\1>", "", text, flags=re.DOTALL)
    assert not re.search(r"\b(None|nan|inf|undefined)\b", visible.replace("None of", ""))
    assert ParsedPage(text).all("h1")


# Known statuses and stems do change the page.
KNOWN_WORDS = {*STEM_NAMES, *TaskStatus}
hostile = st.one_of(
    st.just(HOSTILE),
    st.text(st.characters(exclude_categories=()), min_size=1, max_size=40),
    st.text("<>&\"'/\\`={}%\x00\u202e\u2028\ud800-!", min_size=1, max_size=40),
    st.sampled_from(["<!--<script>", "]]>", "x" * 5000, "javascript:alert(1)", "{% raw %}"]),
).filter(lambda word: word.strip() not in KNOWN_WORDS)


def structure(text: str) -> list[tuple[str, list[str]]]:
    return [(tag, sorted(attributes)) for tag, attributes in ParsedPage(text).tags]


def run_with(word: str) -> Run:
    word = word.strip() or "x"
    record = task(word, status=word, error_message=word)
    failed = failed_task(word, error_message=word, error_code=word)
    saved = outcome(task(word), files={word: Path("/reports/stems/a.mp3")})
    return run(
        timed(outcome(record, status=word), label=word),
        timed(failed, label=word),
        timed(saved, label=word),
        command=word,
        api=word,
    )


@settings(max_examples=settings().max_examples // 5)
@given(hostile)
def test_no_text_changes_the_structure_of_the_page(word: str) -> None:
    text = html_of(run_with(word))
    text.encode()
    assert structure(text) == structure(html_of(run_with("plain")))


def test_a_report_is_written_as_it_was_rendered(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("an old one")
    write_report(run(timed(task())), path, {})
    content = path.read_bytes()
    assert content.decode() == page.render(run(timed(task())), tmp_path, {})
    assert b"\r" not in content
    assert [*tmp_path.iterdir()] == [path]


def test_a_relative_path_of_a_report_is_relative_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_report(run(timed(with_files(1, tmp_path / "stems", ("vocal",)))), Path("report.html"), {})
    assert 'href="stems/task-0001/vocal.wav"' in (tmp_path / "report.html").read_text("utf-8")


def test_an_existing_path_is_unchanged_if_it_cannot_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.mkdir()
    with pytest.raises((IsADirectoryError, PermissionError)):
        write_report(run(), path, {})
    assert [*tmp_path.iterdir()] == [path]


def test_a_report_in_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_report(run(), tmp_path / "missing" / "report.html", {})


def test_a_report_is_written_to_a_device_and_does_not_replace_it(tmp_path: Path) -> None:
    link = tmp_path / "null"
    link.symlink_to(os.devnull)
    write_report(run(), link, {})
    assert link.is_symlink()
    assert Path(os.devnull).is_char_device()


def test_a_report_replaces_the_file_that_a_link_leads_to(tmp_path: Path) -> None:
    target, link = tmp_path / "report.html", tmp_path / "link.html"
    link.symlink_to(target)
    write_report(run(), link, {})
    assert link.is_symlink()
    assert target.read_text("utf-8").startswith("<!doctype html>")
