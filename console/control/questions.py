"""The questions that the console asks, before it changes a run and about a new host key.

Each is as things are now, or None when there is nothing to ask.

>>> stop(snapshot).text
'Stop the run?'
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from motley.console.state.snapshot import Snapshot
from motley.console.view.key_bindings import BY_ACTION, reason
from motley.remote.errors import NewKey

KINDS = ("ed25519", "ecdsa", "rsa")  # of host keys, by which sshd names its files


class Question(NamedTuple):
    text: str
    detail: str
    yes: str


BEFORE_START = Question(
    "Leave before the run has started?", "What has begun is stopped; no rank is left on a host.", "Leave"
)
WHILE_STOPPING = Question("Leave while the run is being stopped?", "Hosts that were not told yet may run on.", "Leave")


def leave(snapshot: Snapshot, *, begins: bool) -> Question | None:
    """`begins`: a new run is about to begin on the hosts."""
    if snapshot.readonly:
        return None
    if snapshot.phase == "stopping":
        return WHILE_STOPPING
    return BEFORE_START if begins and snapshot.phase == "starting" else None


def stop(snapshot: Snapshot) -> Question | None:
    if reason(BY_ACTION["stop"], snapshot) is not None:
        return None
    detail = "A checkpoint is written, then the ranks end on every host. motley run --resume goes on from it."
    if snapshot.script:
        detail = "The script is asked to end (TERM) on every host, and ended when it does not."
        detail += " motley run --resume goes on from its results." * snapshot.has_results
    return Question("Stop the run?", detail, "Stop")


def restart(snapshot: Snapshot, *, resumes: bool) -> Question | None:
    if reason(BY_ACTION["restart"], snapshot) is not None:
        return None
    stops = "The run is stopped on every host. " if snapshot.live else ""
    goes_on = "A new one goes on from its last step." if resumes else "A new one starts from step 1."
    if resumes and not snapshot.step:
        goes_on = "A new one goes on from where this one was to."
    if snapshot.script:
        goes_on = (
            "A new one has its newest results to go on from." if resumes else "A new one starts from the beginning."
        )
    return Question("Start a new run?", stops + goes_on, "Restart")


def join(snapshot: Snapshot, hosts: Sequence[str]) -> Question | None:
    """`hosts`: those that were offered when the key was pressed; none of them may be there already."""
    if reason(BY_ACTION["join"], snapshot) is not None or not set(hosts) <= set(snapshot.offered):
        return None
    detail = "It is checked first. Then it gets the state from the others, and joins at the end of a step."
    return Question(f"Bring {' and '.join(hosts)} into the run?", detail, "Bring in")


def host_key(key: NewKey) -> Question:
    """Whether a host key that nobody knows is right, and what to know for it. On the screen and in a plain terminal."""
    who = key.host if key.host == key.name else f"{key.host} ({key.name})"
    kind = next((kind for kind in KINDS if kind in key.fingerprint.partition("(")[2]), KINDS[0])
    look = f"ssh-keygen -lf /etc/ssh/ssh_host_{kind}_key.pub"
    detail = f"It shows {key.fingerprint}. Compare that with what the machine itself says: {look}"
    return Question(f"Is this the key of {who}?", detail, "Accept")
