"""Sockets that notice a dead path, and the end of a request that was given up."""

from __future__ import annotations

import socket
from types import SimpleNamespace

import pytest

from vocalsep_async._transport.sockets import (
    noticing,
    path_options,
    plain_socket,
    unsent_option,
)

LINUX = SimpleNamespace(TCP_USER_TIMEOUT=18, TCP_KEEPIDLE=4, TCP_KEEPINTVL=5, TCP_KEEPCNT=6)
MACOS = SimpleNamespace(TCP_KEEPALIVE=16, TCP_KEEPINTVL=257, TCP_KEEPCNT=258)
KEPT_ALIVE = (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
TCP = socket.IPPROTO_TCP
INFO = (socket.AF_INET, socket.SOCK_STREAM, TCP, "", ("127.0.0.1", 80))


@pytest.mark.parametrize(
    "names, options",
    [
        pytest.param(LINUX, [(18, 8000), (4, 4), (5, 2), (6, 2)], id="Linux"),
        pytest.param(MACOS, [(16, 4), (257, 2), (258, 2)], id="macOS"),
        pytest.param(SimpleNamespace(), [], id="a platform without any"),
    ],
)
def test_a_socket_gets_the_options_that_its_platform_has(
    names: object, options: list[tuple[int, int]]
) -> None:
    assert path_options(names) == [KEPT_ALIVE, *((TCP, *option) for option in options)]


def test_a_socket_holds_little_that_was_not_sent_where_the_platform_can_bound_it() -> None:
    assert unsent_option(SimpleNamespace(TCP_NOTSENT_LOWAT=25)) == [(TCP, 25, 1 << 17)]
    assert unsent_option(SimpleNamespace()) == []


def test_unanswered_probes_mean_a_dead_path_no_earlier_than_missing_acknowledgements() -> None:
    values = {option: value for _, option, value in path_options(LINUX)}
    probed = values[LINUX.TCP_KEEPIDLE] + values[LINUX.TCP_KEEPINTVL] * values[LINUX.TCP_KEEPCNT]
    assert 1000 * probed == values[LINUX.TCP_USER_TIMEOUT]


def test_a_socket_really_has_the_options() -> None:
    with noticing(plain_socket)(INFO) as made:
        for level, option, value in (*path_options(), *unsent_option()):
            found = made.getsockopt(level, option)
            # A flag that is set is not 1 on every platform.
            assert found == value if level == TCP else bool(found) == bool(value)


def test_a_socket_is_usable_where_a_sandbox_refuses_the_options() -> None:
    class Refusing(socket.socket):
        def setsockopt(self, *_: object) -> None:
            raise OSError(92, "Protocol not available")

    with noticing(lambda info: Refusing(*info[:3]))(INFO) as made:
        assert made.fileno() >= 0
