"""How long the leader has been silent, of the time in which other hosts were heard.

A console that was cut off from everybody has not heard the leader either; that says nothing about the leader, and what
the others said before may have changed since. Its count begins anew with the first word it hears from any of them.

    >>> silence = LeaderSilence(0.0)
    >>> silence.look(2.5, leader=1.0, others=2.4)
    1.5
    >>> silence.look(9.0, leader=1.0, others=2.4)    # nobody is heard
    0.0
    >>> silence.look(10.0, leader=1.0, others=10.0)
    1.0
"""

from __future__ import annotations

DEAF_S = 4.0  # without a word from any other host this console is cut off itself


class LeaderSilence:
    """Times in seconds on one clock that never goes back; `now` is when the leader counts as heard first."""

    def __init__(self, now: float) -> None:
        self._since = self._heard = now

    def restart(self, now: float) -> None:
        """Another host leads, or nobody is waited for."""
        self._since = self._heard = now

    def look(self, now: float, *, leader: float | None, others: float | None) -> float:
        """When the leader was heard last, and the others: the newest of them; None is nobody. Returns the silence."""
        if leader is not None:
            self._heard = max(self._heard, leader)
            self._since = max(self._since, leader)
        if others is None or now - others > DEAF_S:
            self._since = now
        return now - self._since

    def unheard(self, now: float) -> float:
        """Since the leader's last word, whoever else was heard."""
        return now - self._heard
