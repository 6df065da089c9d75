"""Who may see the page, by what a request says of itself. Over real sockets: tests/browser/test_page.py."""

from __future__ import annotations

from dataclasses import replace

import pytest

from motley.console.commands.serving.browser.guard import Asked, Guard, Refused


@pytest.fixture
def guard() -> Guard:
    return Guard(port=9465)


def right(guard: Guard, **changes: object) -> Asked:
    """What the browser that was given the token says."""
    asked = Asked(method="GET", path="/", hosts=["127.0.0.1:9465"], cookie=guard.cookie)
    return replace(asked, **changes)  # type: ignore[arg-type]


def token_of(guard: Guard) -> str:
    return guard.first_url.partition("?token=")[2]


def test_the_first_address_works_once(guard: Guard) -> None:
    first = right(guard, cookie=None, tokens=[token_of(guard)])
    assert guard.judge(first) == "exchange"
    refused = guard.judge(first)
    assert isinstance(refused, Refused)
    assert "it works once" in refused.why
    assert guard.judge(right(guard)) == "welcome"
    assert isinstance(guard.judge(right(guard, tokens=[token_of(guard)])), Refused)  # not even with the cookie


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "POST", "origins": ["http://127.0.0.1:9465"]},
        {"path": "/ended/0123456789abcdef"},
        {"socket": True, "origins": ["http://127.0.0.1:9465"]},
        {"hosts": ["evil.example"]},
        {"origins": ["http://evil.example"]},
    ],
    ids=str,
)
def test_a_token_that_is_shown_elsewhere_is_not_used_up(guard: Guard, changes: dict[str, object]) -> None:
    shown = right(guard, cookie=None, tokens=[token_of(guard)])
    assert isinstance(guard.judge(replace(shown, **changes)), Refused)  # type: ignore[arg-type]
    assert isinstance(guard.judge(replace(shown, tokens=["x"])), Refused)
    assert isinstance(guard.judge(replace(shown, tokens=[token_of(guard)] * 2)), Refused)
    assert guard.judge(shown) == "exchange"


@pytest.mark.parametrize(
    "hosts",
    [
        [],
        [""],
        ["127.0.0.1"],
        ["127.0.0.1:9466"],
        ["127.0.0.1:9465."],
        ["127.0.0.1.:9465"],
        ["localhost.:9465"],
        ["LOCALHOST:9465"],
        ["evil.example:9465"],
        ["127.0.0.1:9465", "127.0.0.1:9465"],
        ["evil.example:9465", "127.0.0.1:9465"],
        ["user@127.0.0.1:9465"],
        ["127.0.0.1:9465 "],
        ["2130706433:9465"],
    ],
    ids=str,
)
def test_host_is_exactly_a_name_of_the_page(guard: Guard, hosts: list[str]) -> None:
    assert isinstance(guard.judge(right(guard, hosts=hosts)), Refused)


@pytest.mark.parametrize(
    "origins",
    [
        ["null"],
        [""],
        ["http://evil.example"],
        ["https://127.0.0.1:9465"],
        ["http://127.0.0.1"],
        ["http://127.0.0.1:9465/"],
        ["http://localhost:9465"],  # the other name of the page: it is another origin
        ["http://127.0.0.1:9465", "http://evil.example"],
        ["http://127.0.0.1:9465", "http://127.0.0.1:9465"],
        ["http://127.0.0.1:9465.evil.example"],
    ],
    ids=str,
)
def test_an_origin_that_is_said_is_the_pages_own(guard: Guard, origins: list[str]) -> None:
    assert isinstance(guard.judge(right(guard, origins=origins)), Refused)
    assert isinstance(guard.judge(right(guard, origins=origins, socket=True)), Refused)


def test_a_socket_and_what_changes_something_must_say_an_origin(guard: Guard) -> None:
    own = ["http://localhost:9465"]
    for changes in ({"socket": True}, {"method": "POST"}, {"method": "OPTIONS"}):
        asked = right(guard, hosts=["localhost:9465"], **changes)
        assert isinstance(guard.judge(asked), Refused)
        assert guard.judge(replace(asked, origins=own)) == "welcome"


@pytest.mark.parametrize("cookie", [None, "", "x", "\udcff", "é"], ids=ascii)
def test_a_cookie_that_was_not_given_is_refused(guard: Guard, cookie: str | None) -> None:
    assert isinstance(guard.judge(right(guard, cookie=cookie)), Refused)
    assert isinstance(guard.judge(right(guard, cookie=Guard(9465).cookie)), Refused)  # of a server before


def test_what_a_browser_leaves_out_is_left_out() -> None:
    guard = Guard(port=80)
    assert guard.first_url.startswith("http://127.0.0.1/?token=")
    assert guard.judge(right(guard, hosts=["localhost"])) == "welcome"


def test_the_secrets_are_long_and_in_no_text_of_a_request(guard: Guard) -> None:
    other = Guard(port=9465)
    assert len({guard.cookie, token_of(guard), other.cookie, token_of(other)}) == 4
    assert min(len(guard.cookie), len(token_of(guard))) >= 43  # 256 bits
    shown = right(guard, tokens=[token_of(guard)])
    assert guard.cookie not in repr(shown)
    assert token_of(guard) not in repr(shown)
