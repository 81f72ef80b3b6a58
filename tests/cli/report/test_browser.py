"""The page in a browser: Debian's chromium, driven by playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from cli.report.reports import (
    NAMES,
    failed_task,
    outcome,
    run,
    sample,
    task,
    timed,
    with_files,
    write_tone,
)

from vocalsep_async import DownloadError, TaskOutcome
from vocalsep_async.cli.report import Peaks, Run, compute_peaks, write_report

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

HOSTILE = (
    "</script><script>window.hacked=1</script>",
    "<img src=x onerror=window.hacked=1>",
    "\"' onmouseover=window.hacked=1 x='",
    "<!--<script>window.hacked=1//",
    "javascript:window.hacked=1",
    "{{7*7}}${window.hacked=1}",
    "\u202egnp.exe\x00\x1b\ud800\u2028",
    "x" * 500,
)
WATCH = """
window.violations = [];
addEventListener("securitypolicyviolation", (event) => violations.push(event.violatedDirective));
addEventListener("load", () => requestAnimationFrame(() => {
  document.querySelector("footer").getBoundingClientRect();
  window.laidOut = performance.now();
}));
"""
Open = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    # Chromium's own sandbox does not work for root, the user of most containers.
    sandbox = ["--no-sandbox"] if os.name == "posix" and os.geteuid() == 0 else []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=CHROMIUM, args=[*sandbox, "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser, tmp_path: Path) -> Iterator[Open]:
    """Open the report of a run; its requests and errors are checked at the end."""
    complaints: list[str] = []
    asked: set[str] = set()
    contexts = []

    def opened(made: Run, peaks: dict[Path, Peaks] | None = None, **options: Any) -> Page:
        write_report(made, tmp_path / "report.html", peaks or {})
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.add_init_script(WATCH)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: asked.add(urlsplit(request.url).scheme))
        page.goto((tmp_path / "report.html").as_uri())
        return page

    yield opened
    for context in contexts:
        for page in context.pages:
            assert page.evaluate("window.violations ?? []") == []
            assert page.evaluate("window.hacked") is None
        context.close()
    assert complaints == []
    assert asked == {"file"}


def a_run(folder: Path) -> Run:
    """Tasks of each status, with delays of 4, 2, 1 and 3 s and one without."""
    late = DownloadError("the disk is full", task_id="task-0001", stem="fx")
    unsaved = with_files(1, folder, ("vocal",))
    return run(
        timed(with_files(2, folder, ("vocal", "drums")), 14, "Tin Roof"),
        timed(
            TaskOutcome(
                task_id="task-0001",
                status="SUCCESS",
                task=unsaved.task,
                error=None,
                polls=1,
                elapsed=1.0,
                files=unsaved.files,
                download_error=late,
            ),
            12,
            "été 78",
        ),
        timed(failed_task("bad", error_message="No vocals in it."), 11, "Apple"),
        timed(task("plain"), 13, "Été 9"),
        timed(outcome(None, task_id="lost"), 60, "Zebra"),
        samples=(sample(5, 10, 2), sample(15, 20, 2), sample(25, 22, 3)),
    )


def with_audio(folder: Path) -> tuple[Run, dict[Path, Peaks]]:
    made = a_run(folder)
    paths = [path for each in made.outcomes for path in each.outcome.files.values()]
    for path in paths:
        write_tone(path)
    return made, {path: peaks for path in paths if (peaks := compute_peaks(path))}


def until(page: Page, truth: str) -> None:
    """Wait until *truth* holds, without playwright's own way, which the page's policy forbids."""
    while not page.evaluate(truth):
        page.wait_for_timeout(30)


def names(page: Page) -> list[str]:
    found: list[str] = page.locator("tbody:visible .task bdi:first-of-type").evaluate_all(
        "all => all.filter(each => each.closest('button')).map(each => each.textContent)"
    )
    return found


def opener(page: Page, name: str) -> Locator:
    return page.get_by_role("button", name=name, exact=True)


def head(page: Page, key: str) -> Locator:
    return page.locator(f"thead [data-key={key}]")


def test_a_stem_is_played_from_the_disk(open_page: Open, tmp_path: Path) -> None:
    page = open_page(*with_audio(tmp_path / "ste ms #1"))
    opener(page, "Tin Roof").click()
    audio = page.get_by_label("vocal", exact=True)
    audio.focus()
    page.keyboard.press("Space")
    until(page, "document.querySelector('audio').currentTime > 0.1")
    assert audio.evaluate("audio => audio.readyState") >= 2
    clip = page.locator(".played").first.evaluate("each => each.style.clipPath")
    assert 0 < float(clip.split()[1].rstrip("%")) < 100


def test_starting_one_stem_stops_the_other(open_page: Open, tmp_path: Path) -> None:
    page = open_page(*with_audio(tmp_path))
    opener(page, "Tin Roof").click()
    for number in (0, 1):
        page.locator("audio").nth(number).evaluate("audio => audio.play()")
    until(page, "document.querySelector('audio').paused")
    assert page.locator("audio").nth(1).evaluate("audio => audio.paused") is False


@pytest.mark.parametrize("how", ["closing", "filtering"])
def test_a_hidden_player_is_paused(open_page: Open, tmp_path: Path, how: str) -> None:
    page = open_page(*with_audio(tmp_path))
    opener(page, "Tin Roof").click()
    page.locator("audio").first.evaluate("audio => audio.play()")
    if how == "closing":
        opener(page, "Tin Roof").click()
    else:
        page.get_by_label("Find").fill("zebra")
    until(page, "document.querySelector('audio').paused")


def test_a_click_on_a_waveform_seeks(open_page: Open, tmp_path: Path) -> None:
    page = open_page(*with_audio(tmp_path))
    opener(page, "Tin Roof").click()
    wave = page.locator(".wave").first
    box = wave.bounding_box()
    assert box
    wave.click(position={"x": box["width"] * 0.75, "y": 10})
    time = page.locator("audio").first.evaluate("audio => audio.currentTime")
    assert time == pytest.approx(1.5, abs=0.1)
    clip = page.locator(".played").first.evaluate("each => each.style.clipPath")
    assert clip.startswith("inset(0px 25")


def test_players_are_created_when_a_row_is_opened(open_page: Open, tmp_path: Path) -> None:
    page = open_page(*with_audio(tmp_path))
    assert page.locator("audio").count() == 0
    for _ in range(3):
        opener(page, "Tin Roof").click()
    assert page.locator("audio").count() == 2
    assert set(page.locator("audio").evaluate_all("all => all.map(each => each.preload)")) == {
        "none"
    }


def test_a_missing_file_of_a_stem_is_reported(browser: Browser, tmp_path: Path) -> None:
    # Not with the other fixture: the browser reports the missing file as an error.
    write_report(a_run(tmp_path), tmp_path / "report.html", {})
    page = browser.new_page()
    page.goto((tmp_path / "report.html").as_uri())
    opener(page, "Tin Roof").click()
    expect(page.locator(".stems .note").first).to_have_text("no waveform")
    page.locator("audio").first.evaluate("audio => void audio.play().catch(() => 0)")
    expect(page.locator(".stems .note").first).to_contain_text("cannot be played")
    page.close()


ORDERS = {
    "order": ["Tin Roof", "été 78", "Apple", "Été 9", "Zebra"],
    "name": ["Apple", "Été 9", "été 78", "Tin Roof", "Zebra"],
    "status": ["Tin Roof", "Été 9", "été 78", "Apple", "Zebra"],
    "duration": ["Tin Roof", "été 78", "Apple", "Été 9", "Zebra"],
    "delay": ["Apple", "été 78", "Été 9", "Tin Roof", "Zebra"],
}


@pytest.mark.parametrize("key", ORDERS)
def test_a_column_header_sorts(open_page: Open, tmp_path: Path, key: str) -> None:
    page = open_page(a_run(tmp_path))
    if key != "order":
        head(page, key).get_by_role("button").click()
    assert names(page) == ORDERS[key]
    expect(head(page, key)).to_have_attribute("aria-sort", "ascending")
    assert page.locator("thead [aria-sort$=scending]").count() == 1


def test_sorting_again_reverses_the_order_and_keeps_unknown_values_last(
    open_page: Open, tmp_path: Path
) -> None:
    page = open_page(a_run(tmp_path))
    head(page, "delay").get_by_role("button").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Space")
    assert names(page) == ["Tin Roof", "Été 9", "été 78", "Apple", "Zebra"]
    expect(head(page, "delay")).to_have_attribute("aria-sort", "descending")


def test_a_narrow_page_sorts_with_a_list(open_page: Open, tmp_path: Path) -> None:
    page = open_page(a_run(tmp_path), viewport={"width": 390, "height": 800})
    page.get_by_label("Sort by").select_option("delay")
    assert names(page) == ORDERS["delay"]


@pytest.mark.parametrize(
    "words, left",
    [
        ("TIN", ["Tin Roof"]),
        ("no vocals", ["Apple"]),
        ("lost", ["Zebra"]),
        ("drums task", ["Tin Roof"]),
        ("nothing at all", []),
    ],
)
def test_words_filter_the_tasks(
    open_page: Open, tmp_path: Path, words: str, left: list[str]
) -> None:
    page = open_page(a_run(tmp_path))
    page.get_by_label("Find").fill(words)
    assert names(page) == left
    expect(page.locator("output")).to_have_text(f"{len(left)} of 5 tasks")
    expect(page.locator("#nothing")).to_be_visible(visible=not left)
    page.get_by_label("Find").fill("")
    expect(page.locator("output")).to_have_text("5 tasks")


def test_a_status_filters_with_the_keyboard(open_page: Open, tmp_path: Path) -> None:
    page = open_page(a_run(tmp_path))
    page.get_by_role("radio", name="All").focus()
    page.keyboard.press("ArrowRight")
    assert names(page) == ["Tin Roof", "Été 9"]
    page.keyboard.press("ArrowRight")
    assert names(page) == ["été 78"]


def test_a_stem_can_be_reached_with_the_keyboard(open_page: Open, tmp_path: Path) -> None:
    page = open_page(*with_audio(tmp_path))
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the tasks")).to_be_focused()
    page.keyboard.press("Enter")
    opener(page, "Tin Roof").focus()
    page.keyboard.press("Enter")
    expect(opener(page, "Tin Roof")).to_have_attribute("aria-expanded", "true")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="vocal", exact=True)).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_label("vocal", exact=True)).to_be_focused()


def test_a_click_in_a_chart_opens_the_task_even_if_a_filter_hid_it(
    open_page: Open, tmp_path: Path
) -> None:
    page = open_page(a_run(tmp_path), reduced_motion="reduce")
    page.get_by_label("Find").fill("zebra")
    page.locator("circle[data-task='3']").click()
    expect(opener(page, "Apple")).to_have_attribute("aria-expanded", "true")
    expect(opener(page, "Apple")).to_be_focused()
    expect(opener(page, "Apple")).to_be_in_viewport()
    assert len(names(page)) == 5


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 700, 1280])
def test_the_page_fits_the_viewport(
    open_page: Open, tmp_path: Path, width: int, scheme: str
) -> None:
    made = a_run(tmp_path)
    timed_outcomes = (*made.outcomes, *hostile_run(tmp_path).outcomes)
    made = run(*timed_outcomes, command="x" * 400, api="y" * 300)
    page = open_page(made, viewport={"width": width, "height": 800}, color_scheme=scheme)
    opener(page, "Tin Roof").click()
    opener(page, "Apple").click()
    page.locator("tbody:nth-of-type(13) .task button").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_stems_outside_the_viewport_do_not_widen_the_page(open_page: Open, tmp_path: Path) -> None:
    timed_outcomes = (timed(with_files(each, tmp_path, ("vocal",)), 14) for each in range(20))
    page = open_page(run(*timed_outcomes), viewport={"width": 320, "height": 800})
    page.locator(".task button").evaluate_all("all => all.forEach(each => each.click())")
    assert page.locator("audio").count() == 20
    assert page.evaluate("document.documentElement.scrollWidth") <= 320


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast(open_page: Open, tmp_path: Path, scheme: str) -> None:
    page = open_page(a_run(tmp_path), color_scheme=scheme)
    for ground in ("--page", "--card"):
        for ink in ("--ink", "--soft", "--succeeded", "--unsaved", "--failed", "--open"):
            assert contrast(page, ink, ground) >= 4.5, (ink, ground)
        # Shapes need less than text.
        for ink in ("--delay", "--request", "--throttled", "--focus"):
            assert contrast(page, ink, ground) >= 2.5, (ink, ground)


def contrast(page: Page, one: str, other: str) -> float:
    """By the formula of WCAG 2."""
    dark, light = sorted(luminance(page, each) for each in (one, other))
    return (light + 0.05) / (dark + 0.05)


def luminance(page: Page, name: str) -> float:
    text = page.evaluate(
        "name => getComputedStyle(document.documentElement).getPropertyValue(name)", name
    )
    shares = [int(text.strip()[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (
        share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def hostile_run(folder: Path) -> Run:
    return run(
        *(
            timed(
                TaskOutcome(
                    task_id=f"{word}{number}".encode(errors="replace").decode(),
                    status=word,
                    task=failed_task(error_message=word, error_code=word),
                    error=None,
                    polls=1,
                    elapsed=1.0,
                    files={word: folder / "a'\"><img src=x onerror=alert(1)>.wav"},
                ),
                label=word,
            )
            for number, word in enumerate(HOSTILE)
        ),
        command=HOSTILE[0],
        api=HOSTILE[1],
    )


def test_no_text_of_the_server_runs_as_a_script(open_page: Open, tmp_path: Path) -> None:
    page = open_page(hostile_run(tmp_path))
    for button in page.locator(".task button").all():
        button.click()
    assert page.locator("audio").count() == len(HOSTILE)
    assert page.locator("img").count() == 0
    assert page.locator("script").count() == 2
    page.get_by_label("Find").fill(HOSTILE[0])
    head(page, "name").get_by_role("button").click()
    page.locator("tbody:visible .task").first.hover()


def test_an_injected_script_does_not_run(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_report(run(timed(task(), label="Tin Roof")), path, {})
    text = path.read_text("utf-8")
    fault = "<script>window.hacked=1</script><img src=x onerror=window.hacked=1>"
    path.write_text(text.replace("Tin Roof", fault), "utf-8")
    page = browser.new_page()
    page.add_init_script(WATCH)
    page.goto(path.as_uri())
    assert page.evaluate("window.hacked") is None
    assert page.evaluate("violations.length") > 0
    page.close()


@pytest.mark.parametrize("made", [run(), run(samples=()), run(timed(outcome(None)))])
def test_an_unusual_run_has_a_page_without_errors(open_page: Open, made: Run) -> None:
    expect(open_page(made).get_by_role("heading", level=1)).to_be_visible()


def test_the_page_without_scripts_lists_the_tasks_and_their_stems(
    open_page: Open, tmp_path: Path
) -> None:
    made, peaks = with_audio(tmp_path)
    write_report(made, tmp_path / "report.html", peaks)
    page = open_page(made, peaks, java_script_enabled=False)
    expect(page.get_by_text("No vocals in it. (code 500)").last).to_be_visible()
    expect(page.get_by_role("link", name="drums")).to_be_visible()
    expect(page.locator(".tools")).to_be_hidden()


def test_a_page_of_five_hundred_tasks_is_laid_out_within_two_seconds(
    open_page: Open, tmp_path: Path
) -> None:
    timed_outcomes = [
        timed(with_files(number, tmp_path / "stems"), 10.5 + number % 50, f"Song {number}")
        for number in range(500)
    ]
    outline = Peaks(bytes(range(120)), 240.0)
    peaks = {path: outline for each in timed_outcomes for path in each.outcome.files.values()}
    page = open_page(run(*timed_outcomes), peaks)
    times = []
    # The best of three, because other programs slow the machine down.
    for _ in range(3):
        page.reload()
        until(page, "window.laidOut")
        times.append(page.evaluate("window.laidOut"))
    assert min(times) < 2000
    assert len(names(page)) == 500
    head(page, "delay").get_by_role("button").click()
    opener(page, "Song 499").click()
    assert page.locator("audio").count() == len(NAMES)
