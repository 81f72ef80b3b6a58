"""The error table of each provider: the class and the action of every code."""

import copy
from datetime import date

import pytest
from yarl import URL

from vocalsep_async import errors
from vocalsep_async.errors import APIError, ErrorAction
from vocalsep_async.models import SeparationType
from vocalsep_async.providers import (
    APIKLEY,
    KIE,
    KIE_JOBS,
    NO_CALLBACK_URL,
    SUNOAPI,
    ErrorRule,
    Price,
    Provider,
    provider_for,
)

RAISE, RETRY = ErrorAction.RAISE, ErrorAction.RETRY
MAINTENANCE, THROTTLE = ErrorAction.MAINTENANCE, ErrorAction.THROTTLE
BOTH = (SUNOAPI, KIE)

# The code, and its error class and action at sunoapi.org and at kie.ai.
TABLE = [
    (-1, (APIError, RAISE), (APIError, RAISE)),
    (0, (APIError, RAISE), (APIError, RAISE)),
    (400, (errors.InvalidParametersError, RAISE), (errors.InvalidParametersError, RAISE)),
    (401, (errors.AuthenticationError, RAISE), (errors.AuthenticationError, RAISE)),
    (402, (APIError, RAISE), (errors.InsufficientCreditsError, RAISE)),
    (403, (APIError, RAISE), (APIError, RAISE)),
    (404, (errors.NotFoundError, RAISE), (errors.NotFoundError, RAISE)),
    (405, (errors.RateLimitedError, THROTTLE), (APIError, RAISE)),
    (408, (APIError, RETRY), (APIError, RETRY)),
    (409, (APIError, RAISE), (APIError, RAISE)),
    (413, (errors.PayloadTooLargeError, RAISE), (errors.PayloadTooLargeError, RAISE)),
    (418, (APIError, RAISE), (APIError, RAISE)),
    (422, (errors.InvalidParametersError, RAISE), (errors.InvalidParametersError, RAISE)),
    (429, (errors.InsufficientCreditsError, RAISE), (errors.RateLimitedError, THROTTLE)),
    (430, (errors.RateLimitedError, THROTTLE), (errors.RateLimitedError, THROTTLE)),
    (433, (APIError, RAISE), (errors.InsufficientCreditsError, RAISE)),
    (451, (APIError, RAISE), (APIError, RAISE)),
    (455, (errors.MaintenanceError, MAINTENANCE), (errors.MaintenanceError, MAINTENANCE)),
    (500, (errors.ServerError, RETRY), (errors.ServerError, RETRY)),
    (501, (errors.ServerError, RAISE), (errors.ServerError, RAISE)),
    (503, (errors.ServerError, RETRY), (errors.ServerError, RETRY)),
    (505, (errors.ServerError, RAISE), (errors.ServerError, RAISE)),
    (531, (errors.ServerError, RAISE), (errors.ServerError, RAISE)),
    (599, (errors.ServerError, RETRY), (errors.ServerError, RETRY)),
    (600, (APIError, RAISE), (APIError, RAISE)),
    (999, (APIError, RAISE), (APIError, RAISE)),
]


@pytest.mark.parametrize("code, at_sunoapi, at_kie", TABLE)
def test_every_code_has_an_error_class_and_an_action(
    code: int, at_sunoapi: tuple[type, ErrorAction], at_kie: tuple[type, ErrorAction]
) -> None:
    for provider, meaning in ((SUNOAPI, at_sunoapi), (KIE, at_kie)):
        rule = provider.classify(code, "no", in_envelope=True)
        assert (rule.error, rule.action) == meaning


def test_the_table_of_this_test_covers_every_listed_code() -> None:
    assert set(SUNOAPI.codes) | set(KIE.codes) <= {code for code, *_ in TABLE}


@pytest.mark.parametrize(
    "message",
    [
        "Insufficient credits",
        "The current credits are INSUFFICIENT. Please top up.",
        "please top-up",
        "Topup needed",
        "your balance is not enough",
        "usage exceeds the cap of this key",
    ],
)
@pytest.mark.parametrize("code", [400, 429, 430, 500, 455, 999])
@pytest.mark.parametrize("provider", BOTH, ids=lambda provider: provider.name)
def test_a_message_about_credits_overrides_every_code(
    provider: Provider, code: int, message: str
) -> None:
    rule = provider.classify(code, message, in_envelope=True)
    assert (rule.error, rule.action) == (errors.InsufficientCreditsError, RAISE)


@pytest.mark.parametrize(
    "message",
    [
        "insufficient permissions",
        "Insufficient privileges",
        "the load balancer failed",
        "load balance failure",
        "Insufficient computing resources, please try again later",
        "Insufficient vocal content",
        "stop upload",
    ],
)
def test_a_message_that_merely_resembles_credits_has_no_effect(message: str) -> None:
    assert SUNOAPI.classify(401, message, in_envelope=True).error is errors.AuthenticationError


@pytest.mark.parametrize(
    "message",
    [
        "call frequency is too high",
        "Too many requests",
        "Rate limit reached",
        "requests too FREQUENT",
    ],
)
@pytest.mark.parametrize(
    "provider, code, is_throttled",
    [
        (SUNOAPI, 429, True),
        (SUNOAPI, 500, True),
        (SUNOAPI, 503, True),
        (SUNOAPI, 999, True),
        (SUNOAPI, 430, True),
        (KIE, 405, True),
        (KIE, 433, True),
        (SUNOAPI, 400, False),
        (SUNOAPI, 401, False),
        (SUNOAPI, 408, False),
        (SUNOAPI, 455, False),
        (SUNOAPI, 501, False),
    ],
)
def test_a_message_about_frequency_decides_where_the_code_is_ambiguous(
    provider: Provider, code: int, message: str, *, is_throttled: bool
) -> None:
    rule = provider.classify(code, message, in_envelope=True)
    assert (rule.error is errors.RateLimitedError) is is_throttled
    assert (rule.action is THROTTLE) is is_throttled


def test_a_message_about_credits_overrides_one_about_frequency() -> None:
    rule = SUNOAPI.classify(
        430, "too many requests, and your balance is insufficient", in_envelope=True
    )
    assert rule.error is errors.InsufficientCreditsError


@pytest.mark.parametrize(
    "status, error, action, hint",
    [
        (401, errors.AuthenticationError, RAISE, ""),
        (403, APIError, RAISE, "user_agent"),
        (404, errors.NotFoundError, RAISE, ""),
        (405, errors.RateLimitedError, THROTTLE, "base_url"),
        (418, APIError, RAISE, ""),
        (429, errors.RateLimitedError, THROTTLE, ""),
        (430, errors.RateLimitedError, THROTTLE, ""),
        (455, errors.MaintenanceError, MAINTENANCE, ""),
        (502, errors.ServerError, RETRY, ""),
        (520, errors.ServerError, RETRY, ""),
    ],
)
@pytest.mark.parametrize("provider", BOTH, ids=lambda provider: provider.name)
def test_a_bare_status_has_its_standard_http_meaning(
    provider: Provider, status: int, error: type, action: ErrorAction, hint: str
) -> None:
    rule = provider.classify(status, "", in_envelope=False)
    assert (rule.error, rule.action) == (error, action)
    assert hint in rule.hint
    assert bool(hint) == bool(rule.hint)


def test_the_text_of_a_web_page_has_no_effect() -> None:
    rule = SUNOAPI.classify(502, "insufficient balance, too many requests", in_envelope=False)
    assert rule.error is errors.ServerError


@pytest.mark.parametrize(
    "code, message, missing",
    [
        (422, "The record does not exist", True),
        (422, "recordInfo is null", True),
        (422, "RECORD IS NULL", True),
        (422, "Record does Not Exist.", True),
        (422, "nullable field", False),
        (422, "Please enter callBackUrl.", False),
        (422, "", False),
        (400, "the record does not exist", False),
        (500, "recordInfo is null", False),
        (404, "Task not found", True),
        (404, "task not FOUND!", True),
        (404, "The task 5c79be8e does not exist.", True),
        (404, "taskId 5c79be8e cannot be found", True),
        (404, "task_id was not found", True),
        (404, "Job not found", True),
        (404, "recordInfo is null", True),
        (404, "Record does not exist", True),
        (404, "No such task", True),
        (404, "Unknown task: 5c79be8e", True),
        (404, "Not Found", False),
        (404, "No such path or method.", False),
        (404, "404 page not found", False),
        (404, "The path /api/v1/jobs/recordInfo was not found", False),
        (404, "Not found: /api/v1/vocal-removal/record-info", False),
        (404, "/task not found", False),
        (404, "multitasking is not found", False),
        (404, "", False),
        (400, "Task not found", False),
        (500, "Task not found", False),
    ],
)
def test_the_words_of_some_errors_may_mean_an_unknown_task(
    code: int, message: str, *, missing: bool
) -> None:
    assert SUNOAPI.is_unknown_task(code, message) is missing


@pytest.mark.parametrize(
    "host, provider",
    [
        ("api.sunoapi.org", SUNOAPI),
        ("apibox.erweima.ai", SUNOAPI),
        ("api.kie.ai", KIE),
        ("API.KIE.AI", KIE),
        ("api.kie.ai.", KIE),
        ("kie.ai", KIE),
        ("eu.api.kie.ai", KIE),
        ("api.apikley.ru", APIKLEY),
        ("API2.apikley.ru.", APIKLEY),
        ("notkie.ai", SUNOAPI),
        ("ai", SUNOAPI),
        ("kie.ai.example.net", SUNOAPI),
        ("localhost", SUNOAPI),
        ("", SUNOAPI),
    ],
)
def test_the_host_selects_the_provider(host: str, provider: Provider) -> None:
    assert provider_for(host) is provider


def test_apikley_speaks_the_codes_of_kie() -> None:
    assert APIKLEY.codes == KIE.codes
    assert APIKLEY.poll_request("a") == KIE.poll_request("a")


def test_each_provider_has_its_own_path_for_credits() -> None:
    assert SUNOAPI.credits_path == "/api/v1/generate/credit"
    assert KIE.credits_path == "/api/v1/chat/credit"


def test_a_custom_provider_uses_its_own_table() -> None:
    closed = ErrorRule(errors.MaintenanceError, action=MAINTENANCE, hint="Closed on Sundays.")
    mine = Provider(name="mine", codes={700: closed}, credits_path="/credits")
    assert mine.classify(700, "", in_envelope=True) is closed
    assert mine.classify(401, "", in_envelope=True).error is APIError
    assert hash(mine) == hash(copy.copy(mine))
    assert "700" not in repr(mine)


@pytest.mark.parametrize("provider", [SUNOAPI, KIE, APIKLEY])
def test_a_creation_without_a_callback_url_names_one_that_cannot_exist(provider: Provider) -> None:
    request = provider.creation_request(type=None, callback_url=None, audio_url="https://a.example")
    assert request.json == {"audioUrl": "https://a.example", "callBackUrl": NO_CALLBACK_URL}
    # A domain under another ending could be registered, and would get the links of the stems.
    assert URL(NO_CALLBACK_URL).host == "callback.invalid"


@pytest.mark.parametrize("provider", [SUNOAPI, KIE, KIE_JOBS])
def test_a_price_says_when_and_where_it_was_read(provider: Provider) -> None:
    assert SeparationType.SEPARATE_VOCAL in provider.prices
    for price in provider.prices.values():
        assert price.credits > 0
        assert price.read_on.year >= 2026
        assert price.source


def test_a_type_whose_price_is_not_published_has_none() -> None:
    assert SeparationType.SPLIT_STEM_ADVANCED not in SUNOAPI.prices
    assert not APIKLEY.prices


def test_a_provider_of_a_user_has_no_prices_unless_it_names_them() -> None:
    price = Price(3, date(2026, 12, 1), "the contract")
    prices = {SeparationType.SPLIT_STEM: price}
    assert not Provider(name="mine", codes={}, credits_path="/credits").prices
    named = Provider(name="mine", codes={}, credits_path="/credits", prices=prices)
    assert named.prices == {SeparationType.SPLIT_STEM: price}
