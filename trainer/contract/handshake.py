"""The line between a rank and its coordinator: proving that both hold the run's token, and noticing a dead peer.

See `trainer.coordinator.task_coordinator` for the order of the words.
"""

from __future__ import annotations

import hmac
import os
import socket

SILENT_S = 12.0  # a peer that answers no keepalive for so long is gone
BEAT_S = 0.3  # between two signs of life, both ways
MISSED = 3.0  # signs of life, at least, before silence is a loss
BEATS_A_SECOND = 2000  # that a coordinator has to hear at most
ANSWERS_A_SECOND = 1000  # and to give; a rank is patient with it (`coordinator_client.DEAF_S`)


def beat_s(members: int) -> float:
    """The time between two signs of life in a run of so many ranks.

    >>> beat_s(8), beat_s(1000)
    (0.3, 0.5)
    """
    return max(BEAT_S, members / BEATS_A_SECOND)


def answer_s(members: int) -> float:
    """The time between two signs of life of the coordinator.

    >>> answer_s(8), answer_s(1000)
    (0.3, 1.0)
    """
    return max(BEAT_S, members / ANSWERS_A_SECOND)


def silence_s(members: int, wanted_s: float) -> float:
    """How long a member of a run of so many may be silent: what is wanted, and never less than `MISSED` signs of life.

    >>> silence_s(1000, 1.5), silence_s(10_000, 1.5)
    (1.5, 15.0)
    """
    return max(wanted_s, MISSED * beat_s(members))


def nonce() -> str:
    """32 hex digits that were never used before; as of `secrets.token_hex`, whose module takes longer to import."""
    return os.urandom(16).hex()


def proof(token: str, *words: object) -> str:
    """HMAC-SHA256 of the words under the run's token (hex digits), in hex."""
    return hmac.new(bytes.fromhex(token), " ".join(map(str, words)).encode(), "sha256").hexdigest()


def keep_alive(connection: socket.socket) -> None:
    """Have the kernel probe a silent peer, so that a power cut or a pulled cable ends the connection."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in ((socket.TCP_KEEPIDLE, 6), (socket.TCP_KEEPINTVL, 2), (socket.TCP_KEEPCNT, 3)):
        connection.setsockopt(socket.IPPROTO_TCP, option, value)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(SILENT_S * 1000))
