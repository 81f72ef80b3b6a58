"""Checks of arguments and of the environment, before any request is sent."""

from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from vocalsep_async import _arguments
from vocalsep_async.errors import ConfigurationError, InvalidArgumentError

BAD_URLS: list[Any] = [
    None,
    7,
    b"https://api.example.net",
    "",
    "api.example.net",
    "//api.example.net",
    "/api",
    "ftp://api.example.net",
    "file:///etc/passwd",
    "data:text/plain,x",
    "https://",
    "https://:443",
    "https://api.example.net:99999",
    "https://api.example.net:port",
    "http://[::1",
    "http://[]@",
    "https://a..b",
    "https://" + "a" * 64 + ".example.net",
]


@pytest.mark.parametrize("url", BAD_URLS)
def test_a_base_url_or_link_must_be_an_http_url(url: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^base_url must be a URL"):
        _arguments.base_url(url)
    with pytest.raises(InvalidArgumentError, match=r"^audio_url must be a URL"):
        _arguments.link(url, "audio_url")


@pytest.mark.parametrize("url", BAD_URLS[1:])
def test_a_proxy_must_be_an_http_url(url: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^proxy must be a URL"):
        _arguments.proxies(url, trust_env=False)


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example.net",
        "http://127.0.0.1:8080/prefix/",
        "http://[::1]:8080",
        "https://bücher.example.net",
        URL("https://api.example.net"),
    ],
)
def test_an_http_url_is_accepted(url: str | URL) -> None:
    assert _arguments.base_url(url) == URL(url)
    assert _arguments.proxies(url, trust_env=False)[0]["https"] == URL(url)


def test_a_proxy_may_have_a_password() -> None:
    assert _arguments.proxies("http://me:pw@proxy.example.net:3128", trust_env=False)[0]


@pytest.mark.parametrize(
    "url",
    [
        "https://me@api.example.net",
        "https://me:hush-hush@api.example.net",
        "https://:hush-hush@api.example.net",
        "https://api.example.net?key=hush-hush",
        "https://api.example.net#hush-hush",
        "ftp://me:hush-hush@api.example.net",
        "https://me:hush-hush@api.example.net:port",
    ],
)
def test_a_base_url_with_credentials_or_query_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        _arguments.base_url(url)
    assert "hush-hush" not in repr(caught.value)
    assert caught.value.__context__ is None


@given(st.text() | st.text("/:@[]%.?#a0 é：\ud800").map("http://{}".format))
def test_any_text_is_a_base_url_or_an_argument_error(text: str) -> None:
    with suppress(InvalidArgumentError):
        assert _arguments.base_url(text).host


def test_a_link_is_kept_unchanged() -> None:
    url = "https://files.example.net/a%2Fb.mp3?sig=a%3D"
    assert _arguments.link(url, "audio_url") == url


def test_the_user_agent_defaults_to_name_and_version() -> None:
    name, _, version = _arguments.user_agent(None).partition("/")
    assert name == "vocalsep-async"
    assert version[0].isdigit()
    assert _arguments.user_agent("my-service/2") == "my-service/2"


@pytest.mark.parametrize("value", ["", "  ", 7, "näme", "two\nlines", "esc\x1b", b"bytes"])
def test_a_user_agent_that_fits_no_header_is_refused(value: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^user_agent must be"):
        _arguments.user_agent(value)


def test_a_text_argument_must_be_a_non_empty_string() -> None:
    assert _arguments.text("Cello", "stem_name") == "Cello"
    for value in ("", "\t ", None, 7):
        with pytest.raises(InvalidArgumentError, match=r"^stem_name must be a non-empty string"):
            _arguments.text(value, "stem_name")


def test_an_option_of_a_wrong_type_is_refused_with_the_right_type() -> None:
    _arguments.instance(3, "retry", int)
    _arguments.instance(3, "retry", (str, int))
    with pytest.raises(InvalidArgumentError, match=r"^retry must be a int, not str$"):
        _arguments.instance("3", "retry", int)
    with pytest.raises(InvalidArgumentError, match=r"^retry must be a str or int, not NoneType$"):
        _arguments.instance(None, "retry", (str, int))


def test_the_environment_provides_the_key_and_optionally_the_base_url() -> None:
    environ = {"VOCALSEP_API_KEY": "k", "VOCALSEP_BASE_URL": "https://api.example.net"}
    assert _arguments.key_in(environ) == "k"
    assert _arguments.base_url_in(environ) == URL("https://api.example.net")
    assert _arguments.base_url_in({}) == URL("https://api.sunoapi.org")


@pytest.mark.parametrize("url", ["nonsense", "https://me@api.example.net", "https://h/?key=k"])
def test_the_error_of_an_invalid_base_url_names_its_variable(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^VOCALSEP_BASE_URL must"):
        _arguments.base_url_in({"VOCALSEP_BASE_URL": url})


def test_the_error_of_a_missing_key_names_its_variable_and_argument() -> None:
    with pytest.raises(ConfigurationError, match="variable VOCALSEP_API_KEY, or pass api_key"):
        _arguments.key_in({})


@pytest.mark.parametrize("blank", ["", " \n"])
def test_the_error_of_a_blank_variable_names_it_and_the_remedy(blank: str) -> None:
    with pytest.raises(ConfigurationError, match=r"VOCALSEP_API_KEY is empty: set it to your API"):
        _arguments.key_in({"VOCALSEP_API_KEY": blank})
    with pytest.raises(ConfigurationError, match=r"VOCALSEP_BASE_URL is empty: .*or unset it"):
        _arguments.base_url_in({"VOCALSEP_BASE_URL": blank})


def test_the_error_of_an_invalid_audio_url_gives_an_example() -> None:
    with pytest.raises(InvalidArgumentError, match=r"such as https://example\.com/song\.mp3$"):
        _arguments.link("song.mp3", "audio_url")


def test_the_error_of_an_invalid_policy_gives_an_example() -> None:
    with pytest.raises(InvalidArgumentError, match=r"such as Adaptive\(\) or Interval\(5\)"):
        _arguments.policy(cast("Any", 5))


@pytest.mark.parametrize(
    "value, networks",
    [
        (False, ()),
        ((), ()),
        (["198.18.0.0/15"], ("198.18.0.0/15",)),
        (("10.0.0.1", " fd00::/8 "), ("10.0.0.1/32", "fd00::/8")),
        ({IPv4Network("10.0.0.0/8")}, ("10.0.0.0/8",)),
        ((each for each in [IPv6Network("fc00::/7")]), ("fc00::/7",)),
    ],
)
def test_networks_can_be_allowed(value: Any, networks: tuple[str, ...]) -> None:
    rules = _arguments.address_rules(value)
    assert rules is not None
    assert tuple(map(str, rules.networks)) == networks


def test_every_address_can_be_allowed() -> None:
    assert _arguments.address_rules(True) is None


@pytest.mark.parametrize(
    "value, words",
    [
        ("198.18.0.0/15", r"as in \('198.18.0.0/15',\), not '198.18.0.0/15'"),
        (b"10.0.0.0/8", "must be True, False or networks"),
        (1, "must be True, False or networks, .* not 1"),
        (None, "must be True, False or networks"),
        (IPv4Network("10.0.0.0/8"), r"as in .*, not IPv4Network\('10.0.0.0/8'\)"),
        (["10.0.0.1/8"], "'10.0.0.1/8' has bits beyond its prefix; did you mean '10.0.0.0/8'"),
        (["fd12::1/8"], "did you mean 'fd00::/8'"),
        (["cdn.example"], "'cdn.example' is not a network such as '198.18.0.0/15'"),
        (["*"], "is not a network"),
        ([""], "'' is not a network"),
        ([10], "10 is not a network"),
        (["a\x1b[31m"], r"'a\\x1b\[31m' is not a network"),
    ],
)
def test_what_is_no_network_is_refused_with_an_example(value: Any, words: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"allow_private_hosts.*{words}"):
        _arguments.address_rules(value)
