"""Pages of other hosts that call the emulator from a browser."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from emulator.http_client import GENERATE, RECORD, HttpClient

from vocalsep_async.emulator import Emulator, Fault
from vocalsep_async.emulator.uploads import PATH

pytestmark = pytest.mark.anyio
PAGE = {"Origin": "https://page.example"}
ASKS = {
    **PAGE,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization, content-type",
    "Authorization": "",
}


def words(headers: Mapping[str, str], name: str) -> set[str]:
    return {word.strip().lower() for word in headers[name].split(",")}


@pytest.mark.parametrize("path", [GENERATE, RECORD, PATH, "/files/task/stem.wav"])
async def test_a_browser_may_send_requests_with_a_key(http: HttpClient, path: str) -> None:
    async with Emulator(cors=True, rate_limit=(1, 3600.0)) as emulator:
        emulator.inject(Fault.SERVER_ERROR)
        for _ in range(2):
            reply = await http.request(emulator, "OPTIONS", path, headers=ASKS)
        # It is no request of the API, and takes neither a slot nor a fault.
        assert (await http.credits(emulator)).code == 500
    assert (reply.http_status, reply.text) == (204, "")
    assert reply.headers["Access-Control-Allow-Origin"] == "*"
    assert {"authorization", "content-type"} <= words(reply.headers, "Access-Control-Allow-Headers")
    assert {"get", "post"} <= words(reply.headers, "Access-Control-Allow-Methods")
    assert [each.code for each in emulator.requests] == [204, 204, 500]


async def test_a_page_may_read_answers_files_and_errors(http: HttpClient) -> None:
    async with Emulator(cors=True) as emulator:
        done = await http.record_info(emulator, emulator.add_task(duration=0))
        link = done.data["response"]["vocalUrl"]
        async with http.session.get(link, headers=PAGE) as file:
            assert file.status == 200
        async with http.session.get(link.partition("?")[0], headers=PAGE) as refused:
            assert refused.status == 403
        emulator.inject(Fault.HTML)
        page = await http.credits(emulator)
    for headers in (done.headers, file.headers, refused.headers, page.headers):
        assert headers["Access-Control-Allow-Origin"] == "*"
        assert {"cf-ray", "retry-after"} <= words(headers, "Access-Control-Expose-Headers")


async def test_without_the_option_a_page_may_do_nothing(http: HttpClient) -> None:
    async with Emulator() as emulator:
        asked = await http.request(emulator, "OPTIONS", GENERATE, headers=ASKS)
        answered = await http.record_info(emulator, "one")
    assert asked.code == 401
    for reply in (asked, answered):
        assert not [name for name in reply.headers if name.startswith("Access-Control")]


async def test_a_request_for_options_that_is_none_of_a_browser_is_no_such_method(
    http: HttpClient,
) -> None:
    async with Emulator(cors=True) as emulator:
        assert (await http.request(emulator, "OPTIONS", GENERATE)).code == 404
