"""The page as text: what is in it, what is not, and how it is written."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from cli.report.reports import arrival, at, failed_task, outcome, run, sample, task, with_files
from hypothesis import given, settings
from hypothesis import strategies as st

from vocalsep_async import SeparationType, Stems, TaskStatus
from vocalsep_async.cli.report import Peaks, Run, page, write_report
from vocalsep_async.models import STEM_NAMES

HOSTILE = "</script><script>window.hacked=1</script>\"'><img src=x onerror=window.hacked=1>{{7*7}}"


class Read(HTMLParser):
    """What a browser would make of a page, roughly."""

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


def rendered(given: Run, peaks: dict[Path, Peaks] | None = None) -> str:
    return page.rendered(given, Path("/reports"), peaks or {})


def outlines(text: str) -> Any:
    found = re.search(
        r'<script type="application/json" id="outlines">(.*?)</script>', text, re.DOTALL
    )
    assert found
    return json.loads(found[1])


def test_everything_is_in_the_page_and_nothing_is_fetched() -> None:
    text = rendered(run(arrival(with_files(1, Path("/reports/stems")))))
    read = Read(text)
    assert not {"link", "img", "iframe", "object", "embed", "base"} & {tag for tag, _ in read.tags}
    assert not [script for script in read.all("script") if "src" in script]
    assert "@import" not in text
    assert "url(" not in text


def test_the_policy_allows_the_script_and_the_style_of_the_page_and_no_other() -> None:
    text = rendered(run(arrival(task())))
    (policy,) = (
        each["content"]
        for each in Read(text).all("meta")
        if each.get("http-equiv") == "Content-Security-Policy"
    )
    for tag in ("script", "style"):
        (inline,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}';" in (policy or "")
    assert (policy or "").startswith("default-src 'none'; base-uri 'none'; form-action 'none';")
    assert "unsafe" not in (policy or "")


def test_no_element_has_a_style_or_a_handler_of_its_own() -> None:
    text = rendered(run(arrival(with_files(1, Path("/stems"))), arrival(failed_task())))
    for _, attributes in Read(text).tags:
        assert not [name for name in attributes if name == "style" or name.startswith("on")]


def test_links_of_the_server_are_not_in_the_page() -> None:
    record = task(
        stems=Stems(vocal="https://files.example.com/v.mp3?signature=secret"),
        callback_url="https://me.example.com/hook?key=secret",
    )
    failed = failed_task(error_message="cannot read https://files.example.com/a?signature=secret")
    text = rendered(run(arrival(record), arrival(failed, title="https://x.example/y?token=secret")))
    assert "secret" not in text
    assert "https://" not in text


def test_a_stem_that_is_not_on_disk_is_named() -> None:
    assert "Not on disk: vocal." in rendered(run(arrival(task())))


def test_each_stem_links_to_its_file() -> None:
    read = Read(rendered(run(arrival(with_files(7, Path("/reports/st ems"), ("vocal", "fx"))))))
    hrefs = [each["href"] for each in read.all("a")][1:]
    assert hrefs == ["st%20ems/task-0007/vocal.wav", "st%20ems/task-0007/fx.wav"]


def test_the_outlines_are_data_in_the_order_of_tasks_and_stems() -> None:
    ended = with_files(1, Path("/reports/stems"), ("vocal", "fx"))
    peaks = {ended.files["vocal"]: Peaks(b"\x00\xff", 2.0049)}
    text = rendered(run(arrival(failed_task()), arrival(ended)), peaks)
    assert outlines(text) == [[], [["AP8=", 2.0], None]]


def test_a_table_tells_its_order() -> None:
    read = Read(rendered(run(arrival(task()))))
    sorts = {each["data-key"]: each["aria-sort"] for each in read.all("th") if "data-key" in each}
    assert sorts == {
        "order": "ascending",
        "name": "none",
        "status": "none",
        "duration": "none",
        "delay": "none",
    }


def test_clocks_that_differ_and_tasks_without_an_outcome_are_mentioned() -> None:
    text = rendered(run(arrival(task(), known=5), samples=(sample(1, 1, pending=2),)))
    assert "1 task ended, by the provider’s clock" in text
    assert "2 tasks had no outcome when the run ended, and are not listed" in text
    assert "1 task had no outcome when the run ended, and is not listed" in rendered(
        run(samples=(sample(1, 1, pending=1),))
    )


@pytest.mark.parametrize(
    "made",
    [
        run(),
        run(samples=()),
        run(samples=(), ended_at=at(-1)),
        run(arrival(task(created_at=None, completed_at=None))),
        run(arrival(outcome(None))),
        run(arrival(outcome(task(type=SeparationType.SPLIT_STEM)))),
        run(*(arrival(failed_task(str(number))) for number in range(70))),
        run(arrival(task(), known=-1e9)),
    ],
)
def test_odd_runs_have_a_page_without_nonsense(made: Run) -> None:
    text = rendered(made)
    shown = re.sub(r"<(script|style)\b.*?</\1>", "", text, flags=re.DOTALL)
    assert not re.search(r"\b(None|nan|inf|undefined)\b", shown.replace("None of", ""))
    assert Read(text).all("h1")


# These do change the page: they are what it is about.
MEANT = {*STEM_NAMES, *TaskStatus}
hostile = st.one_of(
    st.just(HOSTILE),
    st.text(st.characters(exclude_categories=()), min_size=1, max_size=40),
    st.text("<>&\"'/\\`={}%\x00\u202e\u2028\ud800-!", min_size=1, max_size=40),
    st.sampled_from(["<!--<script>", "]]>", "x" * 5000, "javascript:alert(1)", "{% raw %}"]),
).filter(lambda word: word.strip() not in MEANT)


def shape(text: str) -> list[tuple[str, list[str]]]:
    return [(tag, sorted(attributes)) for tag, attributes in Read(text).tags]


def made_of(word: str) -> Run:
    word = word.strip() or "x"
    record = task(word, status=word, error_message=word)
    failed = failed_task(word, error_message=word, error_code=word)
    saved = outcome(task(word), files={word: Path("/reports/stems/a.mp3")})
    return run(
        arrival(outcome(record, status=word), title=word),
        arrival(failed, title=word),
        arrival(saved, title=word),
        command=word,
        api=word,
    )


@settings(max_examples=settings().max_examples // 5)
@given(hostile)
def test_no_word_of_anybody_changes_the_shape_of_the_page(word: str) -> None:
    text = rendered(made_of(word))
    text.encode()
    assert shape(text) == shape(rendered(made_of("plain")))


def test_a_report_is_written_as_it_was_rendered(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("an old one")
    write_report(run(arrival(task())), path, {})
    content = path.read_bytes()
    assert content.decode() == page.rendered(run(arrival(task())), tmp_path, {})
    assert b"\r" not in content
    assert [*tmp_path.iterdir()] == [path]


def test_a_relative_path_is_that_of_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_report(
        run(arrival(with_files(1, tmp_path / "stems", ("vocal",)))), Path("report.html"), {}
    )
    assert 'href="stems/task-0001/vocal.wav"' in (tmp_path / "report.html").read_text("utf-8")


def test_what_stood_there_stays_if_it_cannot_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.mkdir()
    with pytest.raises((IsADirectoryError, PermissionError)):
        write_report(run(), path, {})
    assert [*tmp_path.iterdir()] == [path]


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_report(run(), tmp_path / "missing" / "report.html", {})
