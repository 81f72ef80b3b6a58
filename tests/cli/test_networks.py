"""The command line in networks with a proxy, an authority or addresses of their own."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme
from cli.in_process import assert_error, call
from cli.subprocesses import vocalsep
from fault_server import FaultServer
from transport.forward_proxy import ForwardProxy

from vocalsep_async.cli.wording import in_options, without_logins
from vocalsep_async.emulator import Emulator

PASSWORD = "CANARY-5e1f"
NO_PROXIES = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy"), "")


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    async with Emulator(rate_limit=None, speed=1000) as emulator:
        yield emulator


@pytest.fixture
async def proxy(emulator: Emulator) -> AsyncIterator[ForwardProxy]:
    port = int(emulator.url.rpartition(":")[2])
    async with ForwardProxy({f"127.0.0.1:{port}": port}) as proxy:
        yield proxy


# Proxies


@pytest.mark.anyio
async def test_the_proxy_of_the_environment_serves_polls_and_downloads(
    emulator: Emulator, proxy: ForwardProxy, tmp_path: Path
) -> None:
    task_id = emulator.add_task(duration=0)
    login = proxy.url.replace("://", f"://user:{PASSWORD}@")
    run = await vocalsep(
        emulator,
        *("download", task_id, "--to", str(tmp_path / "stems"), "--stem", "vocal"),
        environ={**NO_PROXIES, "http_proxy": login},
    )
    assert run.status == 0, run.err
    assert len(proxy.seen) == 2
    assert all("proxy-authorization" in seen.headers for seen in proxy.seen)
    assert PASSWORD not in run.err


@pytest.mark.anyio
async def test_no_proxy_and_the_option_precede_the_proxy_of_the_environment(
    emulator: Emulator, proxy: ForwardProxy
) -> None:
    task_id = emulator.add_task(duration=0)
    environ = {**NO_PROXIES, "HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1"}
    assert (await vocalsep(emulator, "get", task_id, environ=environ)).status == 0
    assert not proxy.seen
    words = ("--proxy", proxy.url, "get", task_id)
    assert (await vocalsep(emulator, *words, environ=environ)).status == 0
    assert len(proxy.seen) == 1


@pytest.mark.anyio
async def test_a_login_of_a_proxy_is_in_no_report(
    emulator: Emulator, proxy: ForwardProxy, tmp_path: Path
) -> None:
    login = proxy.url.replace("://", f"://user:{PASSWORD}@")
    page = tmp_path / "report.html"
    words = ("--proxy", login, "track", emulator.add_task(duration=0), "--report", str(page))
    assert (await vocalsep(emulator, *words, environ=NO_PROXIES)).status == 0
    text = page.read_text(encoding="utf-8")
    assert "--proxy" in text
    assert PASSWORD not in text


@pytest.mark.parametrize(
    "words, environ, message",
    [
        (
            ("--proxy", f"ftp://u:{PASSWORD}@p"),
            {},
            "--proxy must be a URL such as http://proxy.example.com:8080",
        ),
        (("--proxy", f"socks5://u:{PASSWORD}@p"), {}, "--proxy names a SOCKS proxy, which is not"),
        ((), {"ALL_PROXY": f"socks5://u:{PASSWORD}@p"}, "ALL_PROXY names a SOCKS proxy"),
        ((), {"http_proxy": "http://p:port"}, "the environment variable http_proxy must be a URL"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_refused_before_any_request(
    vocalsep_emulator: Emulator, words: tuple[str, ...], environ: dict[str, str], message: str
) -> None:
    result = call(vocalsep_emulator, *words, "get", "a", environ={**NO_PROXIES, **environ})
    assert_error(result, message)
    assert PASSWORD not in result.stderr
    assert vocalsep_emulator.requests == ()


# Authorities


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.mark.anyio
async def test_the_file_of_an_authority_is_an_option_or_a_variable(
    emulator: Emulator, authority: trustme.CA, tmp_path: Path
) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    file, nothing = tmp_path / "ca.pem", tmp_path / "nothing.pem"
    authority.cert_pem.write_to_path(str(file))
    trustme.CA().cert_pem.write_to_path(str(nothing))
    variables = dict.fromkeys(("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"), "")
    with FaultServer(tls=tls) as server:
        environ = {**NO_PROXIES, **variables, "VOCALSEP_BASE_URL": f"{server.url}/healthy"}
        refused = await vocalsep(emulator, "credits", environ=environ)
        assert refused.status == 1
        assert "certificate was not accepted" in refused.err
        assert "--ca-file ca.pem" in refused.err
        assert "ssl=" not in refused.err
        for words, chosen in (
            (("--ca-file", str(file)), {"REQUESTS_CA_BUNDLE": str(nothing)}),
            ((), {"REQUESTS_CA_BUNDLE": str(file), "CURL_CA_BUNDLE": str(nothing)}),
            ((), {"CURL_CA_BUNDLE": str(file)}),
            ((), {"SSL_CERT_FILE": str(file)}),
        ):
            run = await vocalsep(emulator, *words, "credits", environ={**environ, **chosen})
            assert run == (0, ["12.5"], ""), (words, chosen)


def test_a_file_without_an_authority_is_refused_with_what_named_it(
    vocalsep_emulator: Emulator, tmp_path: Path
) -> None:
    text = tmp_path / "text"
    text.write_text("no certificate")
    result = call(vocalsep_emulator, "--ca-file", text, "get", "a")
    assert_error(result, f"{text}, which --ca-file names, contains no certificate in PEM format")
    result = call(vocalsep_emulator, "--ca-file", tmp_path / "none", "get", "a")
    assert_error(result, "none, which --ca-file names: No such file or directory")
    environ: dict[str, str | None] = {"REQUESTS_CA_BUNDLE": str(text)}
    result = call(vocalsep_emulator, "get", "a", environ=environ)
    assert_error(result, "which the environment variable REQUESTS_CA_BUNDLE names, contains no")
    assert vocalsep_emulator.requests == ()


def test_without_such_a_file_the_authorities_of_the_system_count(
    vocalsep_emulator: Emulator,
) -> None:
    task_id = vocalsep_emulator.add_task(duration=0)
    environ: dict[str, str | None] = dict.fromkeys(("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"))
    assert call(vocalsep_emulator, "get", task_id, environ=environ).exit_code == 0


def test_a_folder_of_authorities_is_taken(vocalsep_emulator: Emulator, tmp_path: Path) -> None:
    task_id = vocalsep_emulator.add_task(duration=0)
    result = call(vocalsep_emulator, "--ca-file", tmp_path, "get", task_id)
    assert result.exit_code == 0


# Addresses


def elsewhere(emulator: Emulator) -> dict[str, str | None]:
    """The API by another name, so that its links lead to an address that is not public."""
    return {**NO_PROXIES, "VOCALSEP_BASE_URL": emulator.url.replace("127.0.0.1", "localhost")}


@pytest.mark.parametrize(
    "allowed",
    [
        ("--allow-private-hosts",),
        ("--allow-private-hosts", "127.0.0.0/8"),
        ("--allow-private-hosts=127.0.0.1",),
        ("--allow-private-hosts", "10.0.0.0/8", "--allow-private-hosts", "127.0.0.1/32"),
        ("--allow-private-hosts", "--quiet"),
    ],
)
def test_networks_from_which_stems_are_saved_can_be_allowed(
    vocalsep_emulator: Emulator, tmp_path: Path, allowed: tuple[str, ...]
) -> None:
    task_id = vocalsep_emulator.add_task(duration=0)
    words = [*allowed, "download", task_id, "--to", str(tmp_path), "--stem", "vocal"]
    result = call(vocalsep_emulator, *words, environ=elsewhere(vocalsep_emulator))
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("as_json", [False, True])
def test_a_refused_address_is_named_with_the_option_that_allows_it(
    vocalsep_emulator: Emulator, tmp_path: Path, *, as_json: bool
) -> None:
    task_id = vocalsep_emulator.add_task(duration=0)
    page = tmp_path / "report.html"
    words = ["--allow-private-hosts", "198.18.0.0/15", "download", task_id, "--stem", "vocal"]
    words += ["--to", str(tmp_path), "--report", str(page), *(["--json"] if as_json else [])]
    result = call(vocalsep_emulator, *words, environ=elsewhere(vocalsep_emulator))
    assert result.exit_code == 1
    assert "1 task: 1 succeeded, 0 failed; 0 of 1 stem saved, 1 not: " in result.stderr
    reason = json.loads(result.stdout)["reason"] if as_json else result.stdout
    if as_json:
        assert json.loads(result.stdout)["not_saved"] == {"vocal": reason}
    for text in (reason, result.stderr, page.read_text(encoding="utf-8")):
        assert "127.0.0.1 is not a public address" in text
        assert "--allow-private-hosts 127.0.0.1/32 allows them" in text
        assert "allow_private_hosts=" not in text


def test_what_is_no_network_is_refused(vocalsep_emulator: Emulator) -> None:
    result = call(vocalsep_emulator, "--allow-private-hosts", "10.0.0.1/8", "get", "a")
    assert_error(result, "--allow-private-hosts: '10.0.0.1/8' has bits", "'10.0.0.0/8'?")
    assert vocalsep_emulator.requests == ()


# Words


@pytest.mark.parametrize(
    "text, shown",
    [
        ("; check base_url", "; check VOCALSEP_BASE_URL"),
        ("Check base_url.", "Check VOCALSEP_BASE_URL."),
        ('only with on_uncertain="create"', "only with --on-uncertain create"),
        ("max_credits is 15", "--max-credits is 15"),
        ("the port 22 …; allow_private_hosts=True on the client allows it",) * 2,
        ("a proxy must be fast",) * 2,
    ],
)
def test_messages_name_the_options_of_the_command_line(text: str, shown: str) -> None:
    shown = shown.replace("allow_private_hosts=True on the client", "--allow-private-hosts")
    assert in_options(text) == shown


@pytest.mark.parametrize(
    "text, shown",
    [
        ("http://u:p@h:1/x", "http://…@h:1/x"),
        ("http://u@h", "http://…@h"),
        ("--proxy u:p@h get a", "--proxy …@h get a"),
        ("--proxy=u:p@h", "--proxy=…@h"),
        ("https://h/a@b", "https://h/a@b"),
        ("me@example.com", "me@example.com"),
    ],
)
def test_the_logins_of_urls_are_left_out(text: str, shown: str) -> None:
    assert without_logins(text) == shown


def test_a_journal_of_another_api_is_refused_with_the_variable_that_names_it(
    vocalsep_emulator: Emulator, tmp_path: Path
) -> None:
    words = ("track", vocalsep_emulator.add_task(duration=0), "--journal", tmp_path / "journal")
    assert call(vocalsep_emulator, *words).exit_code == 0
    result = call(vocalsep_emulator, *words, environ={"VOCALSEP_BASE_URL": "http://127.0.0.1:1"})
    assert_error(
        result,
        f"journal is of the API at '{vocalsep_emulator.url}', not 'http://127.0.0.1:1': "
        f"set VOCALSEP_BASE_URL='{vocalsep_emulator.url}', or use another file",
    )
