"""Where the pod that leads is: the first one, or another that has taken its place."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from motley.trainer.pod import meeting


@pytest.fixture
def port() -> Iterator[int]:
    """Something listens there, at 127.0.0.1 alone."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


def test_the_first_that_answers_is_found(port: int) -> None:
    assert meeting.found(["127.0.0.2", "127.0.0.1"], port) == ("127.0.0.1", "127.0.0.1")
    assert meeting.found(["127.0.0.2"], port) is None
    assert meeting.found([], port) is None


def test_where_the_first_does_not_answer_another_one_may_lead(port: int) -> None:
    said: list[str] = []

    found = meeting.meet(
        ["127.0.0.2", "127.0.0.1"], port, patience_s=60.0, wait=lambda _: pytest.fail("it waits"), say=said.append
    )

    assert found == ("127.0.0.1", "127.0.0.1")
    assert said == []


def test_a_pod_that_is_asked_to_end_waits_no_longer(port: int) -> None:
    said: list[str] = []

    with pytest.raises(meeting.Unmet, match="was asked to end"):
        meeting.meet(["127.0.0.2"], port, patience_s=60.0, wait=lambda _: True, say=said.append)

    assert said == [f"waiting for the pod that leads: 127.0.0.2:{port} does not answer yet (Connection refused)"]
