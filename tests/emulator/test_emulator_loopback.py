"""The addresses that the emulator posts to."""

import socket

import pytest

from vocalsep_async.emulator.loopback import LoopbackResolver, loopback_url


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/x",
        "https://127.8.9.10/",
        "http://localhost/",
        "http://[::1]:8080/",
    ],
)
def test_urls_of_this_machine_are_called(url: str) -> None:
    assert str(loopback_url(url)) == url


@pytest.mark.parametrize(
    "url",
    [
        None,
        "",
        "no url",
        "/path",
        "https://example.com/hook",
        "http://192.168.0.1/",
        "http://8.8.8.8/",
        "http://0.0.0.0/",
        "http://localhost.example.com/",
        "http://127.0.0.1@example.com/",
        "http://2130706433/",
        "http://127.0.0.1:99999/",
        "http://[::1/",
        "ftp://127.0.0.1/",
    ],
)
def test_other_urls_are_not_called(url: str | None) -> None:
    assert loopback_url(url) is None


@pytest.mark.parametrize(
    "family, hosts",
    [
        (socket.AF_UNSPEC, ["127.0.0.1", "::1"]),
        (socket.AF_INET, ["127.0.0.1"]),
        (socket.AF_INET6, ["::1"]),
    ],
)
@pytest.mark.anyio
async def test_every_name_resolves_to_this_machine(
    family: socket.AddressFamily, hosts: list[str]
) -> None:
    found = await LoopbackResolver().resolve("example.com", 80, family)
    assert [address["host"] for address in found] == hosts
