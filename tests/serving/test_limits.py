"""What one client can have: the queue of searches, the rate of requests, names of the server, headers, errors."""

import asyncio
import ipaddress
import threading
import time

import pytest

from gpldan_jax.serving.collection import Collection
from gpldan_jax.serving.limits import BusyError, Limits, RateLimit, RealClient, Worker
from tests.serving.served import Slow, ask, serving


@pytest.mark.parametrize(
    "path",
    ["/", "/page.js", "/api/about", "/nothing", "/api/search?k=x", "/api/search?words=red", "/icon.svg"],
)
def test_every_answer_is_safe_to_open(port, path):
    headers = ask(port, path)[1]
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert (headers["X-Content-Type-Options"], headers["Referrer-Policy"]) == ("nosniff", "no-referrer")
    assert headers["Cache-Control"] and "Server" not in headers


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("localhost:1234", 200),
        ("LOCALHOST", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("127.0.0.1:80@evil.example", 421),
        ("evil.example:127.0.0.1", 421),
        ("", 421),
    ],
)
def test_only_those_who_call_it_by_its_name_are_answered(port, host, status):
    found, _, content = ask(port, "/api/about", headers={"Host": host})
    assert found == status
    assert status == 200 or "only as 127.0.0.1 or localhost" in content["error"]


def test_a_client_has_a_number_of_requests_and_then_some_each_second():
    time_now, answers = [0.0], []

    async def app(scope, receive, send):
        answers.append(200)

    async def send(message):
        if message["type"] == "http.response.start":
            answers.append((message["status"], dict(message["headers"])[b"retry-after"]))

    limited = RateLimit(app, Limits(rate=2, burst=3, clients=2), clock=lambda: time_now[0])

    def request(client):
        answers.clear()
        asyncio.run(limited({"type": "http", "client": (client, 1)}, None, send))
        return answers[0]

    assert [request("a") for _ in range(4)] == [200, 200, 200, (429, b"1")]
    assert request("b") == 200
    time_now[0] = 1.0
    assert [request("a") for _ in range(3)] == [200, 200, (429, b"1")]
    request("c"), request("d")
    assert len(limited._requests._clients) == 2  # a, who asked longest ago, is forgotten
    assert request("a") == 200


def test_too_many_requests_are_refused_with_when_to_come_back(emoji):
    with serving(emoji, rate=0.001, burst=2) as port:
        found = [ask(port, "/api/about") for _ in range(3)]
    assert [status for status, _, _ in found] == [200, 200, 429]
    assert found[2][1]["Retry-After"] == "1" and "too many requests" in found[2][2]["error"]


def test_calls_are_made_one_at_a_time_and_in_order():
    made, together = [], []

    def work(number):
        together.append(threading.active_count())
        made.append(number)
        time.sleep(0.002)
        return number

    async def all_of_them():
        worker = Worker(Limits(), "work")
        return await asyncio.gather(*(worker("a", work, number) for number in range(10)))

    assert asyncio.run(all_of_them()) == made == list(range(10))
    assert len(set(together)) == 1


async def while_it_works(limits, clients, more=None):
    """What calls of these clients return, in the order in which they were made, while another call is under way."""
    worker, go_on, made = Worker(limits, "work"), threading.Event(), []
    first = asyncio.create_task(worker("z", go_on.wait))
    await asyncio.sleep(0)
    calls = [asyncio.create_task(worker(client, made.append, client)) for client in clients]
    await asyncio.wait(calls, timeout=0.2)
    if more:
        more(calls)
    go_on.set()
    await first
    found = await asyncio.gather(*calls, return_exceptions=True)
    assert await worker("a", str) == ""  # it is not stuck
    assert not worker._waiting and not worker._is_busy
    return found, "".join(made)


def test_a_queue_that_is_full_or_too_slow_turns_calls_away():
    found, made = asyncio.run(while_it_works(Limits(waiting=2), "abc"))
    assert [type(result) for result in found] == [type(None), type(None), BusyError] and not found[2].of_one
    found, made = asyncio.run(while_it_works(Limits(waiting_of_one=2), "aaab"))
    assert [type(result) for result in found[:3]] == [type(None), type(None), BusyError] and found[2].of_one
    assert made == "aba"
    found, made = asyncio.run(while_it_works(Limits(waiting_seconds=0.05), "abc"))
    assert [type(result) for result in found] == [BusyError] * 3 and made == ""


def test_clients_take_turns():
    assert asyncio.run(while_it_works(Limits(), "aaaaabcb"))[1] == "abcabaaa"


def test_what_is_cancelled_before_its_turn_is_not_done():
    def cancel(calls):
        for call in calls[:3]:
            call.cancel()

    found, made = asyncio.run(while_it_works(Limits(), "aabbc", cancel))
    assert made == "bc" and [type(result) for result in found[:3]] == [asyncio.CancelledError] * 3


def test_a_call_that_is_cancelled_as_its_turn_comes_passes_it_on():
    async def both():
        worker, made = Worker(Limits(), "work"), []
        worker._is_busy = True
        calls = [asyncio.create_task(worker(client, made.append, client)) for client in "ab"]
        await asyncio.sleep(0)
        worker._next()
        calls[0].cancel()
        await asyncio.wait(calls, timeout=5)
        return made

    assert asyncio.run(both()) == ["b"]


async def clients_behind(proxies, peer, *forwarded):
    """The client that an application is told, of a request from `peer`."""
    told = []

    async def app(scope, receive, send):
        told.append(scope["client"][0])

    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    scope = {"type": "http", "client": (peer, 5), "headers": headers}
    await RealClient(app, [ipaddress.ip_network(proxy) for proxy in proxies])(scope, None, None)
    return told[0]


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("10.0.0.1", ["1.2.3.4"], "1.2.3.4"),
        ("10.0.0.1", ["6.6.6.6, 1.2.3.4"], "1.2.3.4"),  # the client wrote the first
        ("10.0.0.1", ["6.6.6.6", "1.2.3.4"], "1.2.3.4"),
        ("10.0.0.1", ["6.6.6.6, 1.2.3.4, 10.9.9.9"], "1.2.3.4"),  # two proxies
        ("::ffff:10.0.0.1", ["2001:db8::7"], "2001:db8::7"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["unknown"], "10.0.0.1"),
        ("10.0.0.1", ["1.2.3.4, <script>"], "10.0.0.1"),
        ("192.0.2.1", ["1.2.3.4"], "192.0.2.1"),  # no proxy of ours
    ],
)
def test_a_trusted_proxy_alone_says_who_its_client_is(peer, forwarded, client):
    assert asyncio.run(clients_behind(["10.0.0.0/8"], peer, *forwarded)) == client


def test_clients_behind_a_proxy_have_limits_of_their_own(emoji):
    def found(port):
        return [ask(port, "/api/about", headers={"X-Forwarded-For": f"1.2.3.{of}"})[0] for of in (4, 4, 5)]

    with serving(emoji, rate=0.001, burst=1, proxies=["127.0.0.1"]) as port:
        assert found(port) == [200, 429, 200]
    with serving(emoji, rate=0.001, burst=1) as port:
        assert found(port) == [200, 429, 429]


class Failing(Collection):
    def search(self, *args):
        raise RuntimeError("secret\nof /work/somewhere")


def test_an_unexpected_error_is_one_line_of_the_log_and_tells_nothing(emoji, caplog):
    with serving(Failing(emoji.indexes)) as port:
        status, headers, content = ask(port, "/api/search?words=red")
        assert ask(port, "/api/about")[0] == 200
    assert status == 500 and content == {"error": "something went wrong; the server's log says what"}
    assert headers["X-Content-Type-Options"] == "nosniff"
    (record,) = caplog.records
    assert record.getMessage() == "error: GET '/api/search': RuntimeError: secret of /work/somewhere"
    assert not record.exc_info


@pytest.mark.slow
def test_a_busy_server_says_so_and_still_answers_what_takes_no_search(emoji):
    found = []
    with serving(Slow(emoji.indexes, pause=0.5), waiting=1) as port:
        searches = [threading.Thread(target=lambda: found.append(ask(port, "/api/search?words=red"))) for _ in range(4)]
        for search in searches:
            search.start()
        time.sleep(0.2)
        started = time.monotonic()
        assert ask(port, "/page.js")[0] == 200 and time.monotonic() - started < 0.25
        for search in searches:
            search.join()
    assert sorted(status for status, _, _ in found) == [200, 200, 503, 503]
    refused = next(one for one in found if one[0] == 503)
    assert refused[1]["Retry-After"] == "2" and refused[2] == {"error": "too many searches are waiting"}
