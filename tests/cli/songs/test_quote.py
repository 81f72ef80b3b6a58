"""What a run of songs would cost, in words."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocalsep_async import SeparationType, Song
from vocalsep_async._songs.preview import SongPreview, SongState
from vocalsep_async.cli.songs.quote import Quote, amount, enough_for
from vocalsep_async.providers import Price

VOCAL, SPLIT = SeparationType.SEPARATE_VOCAL, SeparationType.SPLIT_STEM
READ_ON = date(2026, 11, 30)
PRICES = {VOCAL: Price(10, READ_ON, "the page"), SPLIT: Price(2.5, READ_ON, "the page")}
AS_READ = "as the page said on 2026-11-30"


def song(state: SongState = "new", kind: SeparationType = VOCAL, label: str = "a") -> SongPreview:
    return SongPreview(Song("a.mp3", label=label), kind, state)


def quote(*songs: SongPreview, **options: object) -> Quote:
    return Quote(**{"songs": songs, "prices": PRICES, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "number, words",
    [(1.0, "1 credit"), (1250, "1,250 credits"), (2.5, "2.5 credits"), (0, "0 credits")],
)
def test_an_amount_is_a_number_of_credits(number: float, words: str) -> None:
    assert amount(number) == words


def test_a_quote_has_the_price_of_each_type_with_its_date_and_source() -> None:
    made = quote(song(), song(kind=SPLIT), song())
    assert list(made.lines()) == [
        "3 songs: 3 to be created",
        f"  separate_vocal: 2 × 10 credits = 20 credits, {AS_READ}",
        f"  split_stem: 1 × 2.5 credits = 2.5 credits, {AS_READ}",
        "  22.5 credits in all",
    ]
    assert made.total == 22.5


def test_only_songs_that_are_created_cost_something() -> None:
    made = quote(song("known"), song("same"), song("uncertain"), song("new"), song("again"))
    assert list(made.lines()) == [
        (
            "5 songs: 2 to be created, 1 known to the journal, 1 the same as another one, "
            "1 uncertain, and left alone"
        ),
        f"  separate_vocal: 2 × 10 credits = 20 credits, {AS_READ}",
    ]
    assert made.total == 20


def test_an_uncertain_song_costs_something_if_it_is_created_again() -> None:
    made = quote(song("uncertain"), creates_again=True)
    assert next(iter(made.lines())) == "1 song: 1 to be created"
    assert made.total == 10


def test_nothing_is_priced_if_nothing_is_created() -> None:
    made = quote(song("known"), resubmit=2, most=5)
    assert list(made.lines()) == ["1 song: 1 known to the journal"]
    assert made.total == 0


def test_an_unknown_price_is_said() -> None:
    made = quote(song(), song(kind=SPLIT), prices={VOCAL: PRICES[VOCAL]})
    assert list(made.lines())[1:] == [
        f"  separate_vocal: 1 × 10 credits = 10 credits, {AS_READ}",
        "  split_stem: 1 song; its price is not known",
    ]
    assert made.total is None


def test_what_failures_may_add_and_what_a_limit_takes_away_is_said() -> None:
    assert list(quote(song(), resubmit=2, most=500.0).lines())[2:] == [
        "  and as much again for each time that a song fails and is created again, 2 times at most",
        "  no more than 500 credits are spent",
    ]


@pytest.mark.parametrize(
    "left, words",
    [
        (1000, "the account has 1,000 credits"),
        (20, "the account has 20 credits"),
        (19.5, "the account has 19.5 credits: enough for 1 of 2"),
        (0, "the account has 0 credits: enough for 0 of 2"),
    ],
)
def test_a_quote_says_for_how_many_songs_the_account_has_enough(left: float, words: str) -> None:
    assert quote(song(), song("known"), song()).with_account(left) == words


def test_without_a_price_the_account_is_not_judged() -> None:
    assert quote(song(), prices={}).with_account(3) == "the account has 3 credits"


@pytest.mark.parametrize(
    "state, words",
    [
        ("new", "to be created, 10 credits"),
        ("again", "to be created, 10 credits"),
        ("known", "known to the journal"),
        ("same", "the same as another one"),
        ("uncertain", "uncertain, and left alone"),
    ],
)
def test_a_line_says_what_would_become_of_a_song(state: SongState, words: str) -> None:
    each = song(state, label="Für Elise")
    assert quote(each).line(each) == f"Für Elise  separate_vocal  {words}"
    price = 10 if "credits" in words else 0
    assert quote(each).row(each) == {
        "label": "Für Elise",
        "type": "separate_vocal",
        "state": state,
        "credits": price,
    }


def test_a_line_says_if_the_price_is_not_known() -> None:
    made = quote(song(), prices={})
    assert made.line(song()) == "a  separate_vocal  to be created, its price is not known"
    assert made.row(song())["credits"] is None


@given(st.lists(st.integers(0, 9)), st.integers(0, 50))
def test_what_is_enough_for_some_songs_is_not_enough_for_one_more(
    costs: list[int], left: int
) -> None:
    number = enough_for(costs, left)
    assert sum(costs[:number]) <= left
    assert number == len(costs) or sum(costs[: number + 1]) > left
