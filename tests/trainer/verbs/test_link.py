"""Measuring the network: the verbs of both ends over loopback, and who is not served."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from motley.trainer.verbs.link import CHUNK, SETTLE_BYTES, settled

ROOT = Path(__file__).resolve().parents[3]
TOKEN = "ab" * 32
BOUND_S = 60.0
MIB = 2**20

Start = Callable[..., subprocess.Popen[str]]


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


ADDRESSES = ["127.0.0.1", "::1"] if has_ipv6() else ["127.0.0.1"]


@pytest.fixture
def start() -> Iterator[Start]:
    """A verb of `trainer link` with its token on standard input, which stays open."""
    running: list[subprocess.Popen[str]] = []

    def started(*words: str, token: str = TOKEN) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-S", "-m", "motley.trainer", "link", *words], cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        running.append(process)
        assert process.stdin is not None
        process.stdin.write(f"{token}\n")
        process.stdin.flush()
        return process

    yield started
    for process in running:
        with process:  # closes its pipes
            process.kill()


def port_of(listener: subprocess.Popen[str]) -> int:
    assert listener.stdout is not None
    return int(json.loads(listener.stdout.readline())["port"])


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Its exit code and what it printed, once its standard input is closed."""
    out, err = process.communicate(timeout=BOUND_S)
    return process.returncode, out, err


def figures(start: Start, address: str, port: int) -> dict[str, float]:
    code, out, err = ended(start("--connect", address, "--port", str(port)))
    assert code == 0, err
    found: dict[str, float] = json.loads(out)
    return found


@pytest.mark.parametrize("address", ADDRESSES)
def test_hosts_measure_their_way_to_the_leader_one_after_the_other(start: Start, address: str) -> None:
    listener = start("--listen", address)
    port = port_of(listener)
    for _ in range(2):
        found = figures(start, address, port)
        assert set(found) == {"mbit", "latency_ms"}
        assert found["mbit"] > 0
        assert found["latency_ms"] > 0
    assert ended(listener) == (0, "", "")  # it ends when its standard input does


def test_strangers_are_not_served_and_hold_nobody_up_for_long(start: Start) -> None:
    listener = start("--listen", "127.0.0.1")
    port = port_of(listener)
    code, out, err = ended(start("--connect", "127.0.0.1", "--port", str(port), token="cd" * 32))
    assert (code, out) == (1, "")
    assert "the other side went" in err
    with socket.create_connection(("127.0.0.1", port)) as guess:
        assert len(guess.recv(CHUNK)) == 32  # the question
        guess.sendall(b"x" * 32 + b"0" * 64)
        assert guess.recv(CHUNK) == b""  # no proof, no answer
    with socket.create_connection(("127.0.0.1", port)), socket.create_connection(("127.0.0.1", port)) as hasty:
        hasty.close()
        assert figures(start, "127.0.0.1", port)["mbit"] > 0
    code, _, err = ended(listener)
    assert code == 0
    assert err.count("a measurement with 127.0.0.1 was given up") == 4
    assert err.count("a stranger connected") == 2


def test_a_listener_of_somebody_else_is_not_measured(start: Start) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        host = start("--connect", "127.0.0.1", "--port", str(other.getsockname()[1]))
        connection, _ = other.accept()
        with connection:
            connection.sendall(b"0" * 32)
            assert len(connection.recv(80, socket.MSG_WAITALL)) == 80
            connection.sendall(b"0" * 64)
            code, out, err = ended(host)
    assert (code, out) == (1, "")
    assert "the listener is not the leader's" in err


def test_a_port_that_is_closed_gives_the_reason(start: Start) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        code, out, err = ended(start("--connect", "127.0.0.1", "--port", str(port)))
    assert (code, out) == (1, "")
    assert f"127.0.0.1 port {port} could not be measured" in err
    assert "refused" in err


def test_an_address_that_is_not_the_host_s_gives_the_reason(start: Start) -> None:
    code, out, err = ended(start("--listen", "192.0.2.1"))
    assert (code, out) == (1, "")
    assert err.startswith("can't listen on 192.0.2.1")


@pytest.mark.parametrize("token", ["", "not hex"])
def test_without_a_token_nothing_is_opened(start: Start, token: str) -> None:
    code, out, err = ended(start("--listen", "127.0.0.1", token=token))
    assert (code, out, err) == (1, "", "no token on standard input\n")


def test_a_listener_whose_master_went_is_gone_at_once(start: Start) -> None:
    listener = start("--listen", "127.0.0.1")
    port = port_of(listener)
    assert listener.stdin is not None
    listener.stdin.close()
    assert listener.wait(BOUND_S) == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_what_buffers_took_at_once_does_not_count() -> None:
    """10 MiB a second; the first MiB came out of a queue."""
    came = [(0.0, 0), (0.001, MIB)] + [(0.001 + n * 0.1, MIB + n * MIB) for n in range(1, 11)]
    seconds, count = settled(came)
    assert count / seconds == pytest.approx(10 * MIB, rel=1e-6)


def test_of_little_that_came_over_a_slow_link_most_counts() -> None:
    """100 KiB a second: less came in all than is left out on a quick one."""
    came = [(n * 0.1, n * 10 * 1024) for n in range(31)]
    assert came[-1][1] < SETTLE_BYTES
    seconds, count = settled(came)
    assert count > 0.7 * came[-1][1]
    assert count / seconds == pytest.approx(100 * 1024, rel=1e-6)
