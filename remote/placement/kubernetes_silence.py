"""A cluster that does not answer while pods are waited for: told once, borne for a while, then given up. Pure.

>>> silence = Silence()
>>> silence.failed(error, now=12.0), silence.failed(error, now=15.0)     # what to tell
('the cluster gives no answer (…): it is asked again, for 10 minutes. Is the cluster up? …', '')
"""

from __future__ import annotations

from motley.remote.errors import HostError

# A control plane that is upgraded, a VPN or a login that is renewed, takes minutes, and pods may have waited for hours
# by then. Longer than this, nobody can say that they are waited for still.
MOST_S = 600.0


class Silence:
    """Since the last answer."""

    def __init__(self) -> None:
        self._since: float | None = None

    def answered(self) -> str:
        """What to tell of it: empty where it had answered before, too."""
        was, self._since = self._since, None
        return "" if was is None else "the cluster answers again"

    def failed(self, error: HostError, now: float) -> str:
        """What to tell of it: empty where it was told already. Raises the error once it has lasted too long."""
        if self._since is None:
            self._since = now
            text = f"the cluster gives no answer ({error.cause}): it is asked again, for {MOST_S / 60:.0f} minutes"
            return f"{text}. {error.remedy}"
        if now - self._since >= MOST_S:
            raise error
        return ""
