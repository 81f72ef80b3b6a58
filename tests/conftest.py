"""Fixtures and settings that several test files share.

Coroutine tests run on asyncio in real time; a file whose subject is waiting overrides
``anyio_backend`` with `VIRTUAL_TIME` and never sees a real second pass.

Hypothesis draws by one of three profiles, chosen with ``--hypothesis-profile``: ``tests`` draws
other examples in every run, ``gate`` the same in every run, ``deep`` three times as many of these.
A test that needs more or fewer examples than others says so as a multiple or a part of
``settings().max_examples``, so that the profile still decides.

``--limiter NAME`` puts a limiter of ``limiters.py`` behind every client of the fake provider, in
place of the client's own, and leaves out the tests that are marked ``own_limiter``.
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Iterator

import fakes
import limiters
import pytest
from fakes import FakeProvider, provider_in_place
from hypothesis import HealthCheck, settings

from vocalsep_async._accounts import ACCOUNTS

pytest_plugins = ["pytester"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--limiter", choices=["SleepingLimiter", "WrappedLimiter"])


def pytest_configure(config: pytest.Config) -> None:
    name = config.getoption("limiter")
    if name is not None:
        fakes.make_limiter = getattr(limiters, name)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("limiter") is not None:
        items[:] = [item for item in items if item.get_closest_marker("own_limiter") is None]


# A deadline, and the check for slow examples, would judge the machine and not the package.
settings.register_profile(
    "tests",
    parent=settings.get_profile("default"),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
# What decides whether a change is good draws the same examples every time.
settings.register_profile("gate", parent=settings.get_profile("tests"), derandomize=True)
settings.register_profile("deep", parent=settings.get_profile("gate"), max_examples=300)
settings.load_profile("tests")

# A shell has what it runs in the background ignore Ctrl-C, and programs inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def anyio_backend() -> str:
    """Run coroutine tests on asyncio: aiohttp has no other."""
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def _without_an_account() -> Iterator[None]:
    """Hide the developer's account, which a client without arguments would use."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("API_KEY", "BASE_URL", "UPLOAD_URL", "LOG"):
            patch.delenv(f"VOCALSEP_{name}", raising=False)
        yield


@pytest.fixture(autouse=True)
def _accounts_of_its_own() -> None:
    """Begin each test as a process does: clients of tests before it share nothing with its own."""
    ACCOUNTS.restart()


def _loggers() -> list[logging.Logger]:
    ours = [each for each in logging.Logger.manager.loggerDict if each.startswith("vocalsep_async")]
    return [logging.getLogger(), *map(logging.getLogger, ours)]


@pytest.fixture(autouse=True)
def _log_as_it_was() -> Iterator[None]:
    """Undo what a test sets, as a client or an example does, because it decides what is logged."""
    before = {logger: (logger.level, [*logger.handlers]) for logger in _loggers()}
    yield
    for logger in _loggers():
        level, handlers = before.get(logger, (logging.NOTSET, []))
        if logger.level != level:
            logger.setLevel(level)
        # Those of the root are changed by pytest itself, which captures the log of each test.
        if logger.parent is not None:
            logger.handlers[:] = handlers


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeProvider]:
    """Have clients talk to a provider in virtual time."""
    with provider_in_place(monkeypatch) as provider:
        yield provider


@pytest.fixture(
    params=["UTC0", "NST3:30NDT,M3.2.0,M11.1.0", "IST-2IDT,M3.4.4/26,M10.5.0"],
    ids=["in UTC", "in Newfoundland", "in Israel"],
)
def any_zone(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run in another time zone, whose rules are given so that no database is needed."""
    if not hasattr(time, "tzset"):  # pragma: no cover - a system on which no test can set it
        pytest.skip("the time zone of this system cannot be set")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", request.param)
        time.tzset()
        yield
    time.tzset()
