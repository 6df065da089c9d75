"""A rank's side of the group: its connection to the coordinator. Here it learns that its group has broken.

Standard library only: the rank says hello before it imports torch, so that the others know what it is doing.

>>> line = CoordinatorClient.dial(spec, member=2, deadline_s=60)
>>> line.phase("importing torch")
>>> line.ready(times={"import_s": 4.2}, store=("10.0.0.3", 40123)).rank
2

Two threads serve it: one sends a sign of life three times a second, with the steps done; the other listens, since the
main thread may be stuck in a collective that never ends. When the coordinator says that the group is broken, or is not
heard any more, the listener frees the main thread (`guard`). A lost line is dialled again for `hold_s`.
"""

from __future__ import annotations

import contextlib
import functools
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Union

from motley.trainer.contract.generation import Group
from motley.trainer.contract.handshake import beat_s, silence_s
from motley.trainer.contract.spec import Spec
from motley.trainer.contract.term import NO_TERM, Term
from motley.trainer.contract.validate import LONGEST
from motley.trainer.host.rank_progress import Moment, is_stuck, moment
from motley.trainer.rank.coordinator_connection import (
    CoordinatorConnection,
    Heard,
    JoinError,
    NoAnswer,
    Redialled,
    RunOver,
    Save,
    call_again,
)

DEAF_S, CALL_S = 2.0, 5.0  # without a sign of life the coordinator is not there; of one call at the start
REDIAL_BOUND_S = 1.0  # of one call again: another host may lead meanwhile
HEARD_S = 10.0  # that who has finished waits for a coordinator that has heard it: another may have to follow

Where = Callable[[], tuple[str, int]]
Make = functools.partial[CoordinatorConnection]  # a new one for the member, to whoever leads
called: dict[tuple[str, int], CoordinatorClient] = {}  # by run and member: lines that were dialled for a rank to come
_Word = Union[Group, Save, Redialled, Heard, JoinError]


class CoordinatorClient:
    """The connection of one member. Calls block; each has a bound."""

    def __init__(self, call: CoordinatorConnection, spec: Spec, make: Make, where: Where) -> None:
        self.step = self.arrived = -1  # the loop writes them: steps completed, gradients handed over
        self._stage, self._moves = (-1, 0), 0  # steps completed and stage of the epoch's end; signs of being at work
        self.boundary = False  # somebody wants to join: rank 0 lets go at the end of a step
        self.asked: list[str] = []  # requests for a checkpoint; the coordinator says them again to the next rank 0
        self.over: Callable[[str, str], None] = lambda _text, _state: None  # the reason and the end state; by a thread
        self.stuck: Callable[[], None] = lambda: None  # called when `free` does not free the main thread
        self.dismissed: Callable[[], None] = lambda: None  # called when the script is a session: it is the member now
        self.data: Mapping[str, Any] | None = None  # the fingerprint of this rank's training data
        self._spec = spec
        self._make = make
        self._where = where
        self._call = call
        self._words: queue.SimpleQueue[_Word] = queue.SimpleQueue()
        self._attempt = 0
        self._guarded = -1  # the generation that `free` ends
        self._broken = -1  # the newest generation that is known to be broken
        self._regroups: Mapping[str, Any] | None = None  # what a coordinator that follows is to know of the run
        self._reported: Mapping[str, Any] | None = None  # rank 0's figures of the last window
        self._free: Callable[[], object] = lambda: None
        self._freed: Moment | None = None  # when `free` was called first, of this generation
        self._forming = False  # the main thread makes the group
        self._let_go = False  # the main thread has let go of the generation that broke
        self._closed = threading.Event()
        self._deaf_s = max(DEAF_S, silence_s(len(spec.members), spec.elastic.lost_after_s))

    @classmethod
    def dial(
        cls, spec: Spec, *, member: int, deadline_s: float, where: Where | None = None, session: bool = False
    ) -> CoordinatorClient:
        """Call the coordinator until it answers, at most `deadline_s`. Raises JoinError.

        `where` says its address and port, which change when another host leads; by default those of the spec.
        `session`: for the process of a script, not for the one that has started it."""
        line = called.pop((spec.run, member), None)
        if line is None:
            line = cls.call(spec, member=member, deadline_s=deadline_s, where=where, session=session)
        line._where = where or line._where
        line._start()
        return line

    @classmethod
    def call(
        cls, spec: Spec, *, member: int, deadline_s: float, where: Where | None = None, session: bool = False
    ) -> CoordinatorClient:
        """As `dial`, of a line that nobody listens to yet and that starts no thread, for a process that is to fork."""
        deadline = time.monotonic() + deadline_s
        where = where or (lambda: (spec.leader_address, spec.port))
        make = functools.partial(CoordinatorConnection.make, spec=spec, member=member, session=session)
        while True:
            address = where()
            try:
                left_s = max(0.0, deadline - time.monotonic())
                return cls(make(address, connect_s=CALL_S, greet_s=left_s), spec, make, where)
            except (OSError, NoAnswer) as error:
                if time.monotonic() > deadline:
                    raise JoinError(
                        f"no coordinator at {address[0]}:{address[1]} after {deadline_s:.0f} s ({error}): is a "
                        f"firewall between this host and {spec.leader}?"
                    ) from error
                time.sleep(0.1)

    def _start(self) -> None:
        for name, run in (("listen", self._listen), ("beat", self._beat)):
            threading.Thread(target=run, name=f"coordinator client: {name}", daemon=True).start()

    def fileno(self) -> int:
        """Of the line's socket; -1 while it is lost."""
        return self._call.fileno()

    @property
    def address(self) -> str:
        """This host's own on the way to the coordinator, numeric; while the line is lost that of before."""
        return self._call.address

    def phase(self, name: str) -> None:
        self._call.send(op="phase", phase=name)

    def ready(
        self,
        *,
        times: dict[str, float],
        store: tuple[str, int] | None = None,
        step: int = 0,
        term: Term = NO_TERM,
        leader: str = "",
        generation: int = -1,
        broke: str = "",
        save: Callable[[bool], object] = lambda _cut_off: None,
    ) -> Group:
        """Say that this member can join, wait for the group.

        `step` is the number of steps that its state has; -1 is no state. `term`, `leader` and `generation` are those of
        the last group it was in, `broke` how it saw it break. `save` is called when the wait may be long, or have no
        good end: with True when the coordinator can't be reached. Raises JoinError when the coordinator gives up,
        CoordinatorLost when it can't be reached for `hold_s`. Without that the wait has no bound of its own.
        """
        self._guarded, self._freed, self.asked = -1, None, []
        self._attempt += 1
        self.step = self.arrived = step
        self._stage, self._moves = (-1, 0), 0
        said: dict[str, Any] = {"times": times, "store": store, "step": step, "term": term, "leader": leader}
        said |= {"generation": generation, "broke": broke[:LONGEST], "data": self.data}
        if self._regroups is not None:
            said["regroups"] = self._regroups
        self._call.send(op="ready", attempt=self._attempt, **said)
        while True:
            match self._words.get():
                case Group() as group if group.attempt == self._attempt:
                    return group
                case JoinError() as error:
                    raise error
                case Save(cut_off=cut_off):
                    save(cut_off)
                case Redialled():
                    self._call.send(op="ready", attempt=self._attempt, **said)

    def guard(self, generation: int, free: Callable[[], object]) -> bool:
        """Call `free` from another thread, again and again until `ready`, once this generation is broken.

        The main thread may be stuck in it, or about to be. False when it is broken already.
        """
        self._free, self._guarded, self._forming, self._let_go = free, generation, True, False
        return generation > self._broken

    def arrive(self, stage: int = 0) -> None:
        """It waits for the others: its gradients are handed over, or it is at this `stage` (from 1) of an epoch."""
        if stage:
            self._stage = (self.step, stage)
        else:
            self.arrived = self.step + 1

    def works(self) -> None:
        """On something long that others may wait for. Without this for `stuck_after_s` it counts as stuck."""
        self._moves += 1

    def joined(self) -> None:
        self._forming = False
        self._call.send(op="joined")

    def let_go(self) -> None:
        """The main thread is out of the group that broke. What it does until `ready`, tidying up, is work."""
        self._let_go = True

    def report(self, **figures: Any) -> None:
        """Rank 0's figures for the summary: see `trainer.coordinator.summary.RunSummary.take_report`."""
        self._reported = figures
        self._call.send(op="report", **figures)

    def resumed(self, generation: int, pause_s: float) -> None:
        """The first step of a generation that is not the first one has ended, so long after the one before."""
        self._call.send(op="resumed", generation=generation, pause_s=pause_s)

    def checkpointed(self, requests: Sequence[str]) -> None:
        """These requests for a checkpoint have had their answer, in an event."""
        while self.asked and self.asked[0] in requests:  # in place: the listener may add to them
            del self.asked[0]
        self._call.send(op="checkpointed", requests=requests)

    def exited(self, generation: int, code: int) -> None:
        """The script that this member has started for a generation has ended: see `trainer.rank.script_rank`."""
        self._call.send(op="exited", generation=generation, code=code)

    def ended(self, state: str, *, heard_s: float = 0.0) -> None:
        """The last word. Waits at most `heard_s` until it has been heard: when the coordinator was killed meanwhile it
        is said to the one that follows, with the figures that the other may have taken with it."""
        self._guarded = -1  # there is no group to be freed from any more
        self._call.send(op="ended", state=state)
        deadline = time.monotonic() + heard_s
        with contextlib.suppress(queue.Empty):
            while (left_s := deadline - time.monotonic()) > 0:
                match self._words.get(timeout=left_s):
                    case Redialled():
                        if self._reported is not None:
                            self._call.send(op="report", **self._reported)
                        self._call.send(op="ended", state=state, regroups=self._regroups)
                    case Heard() | JoinError():
                        break
        self.close()

    def beat(self) -> None:
        """A sign of life."""
        arrived, (step, stage) = max(self.arrived, self.step), self._stage
        figures = {"arrived": arrived, "stage": stage if step == arrived else 0, "moves": self._moves}
        self._call.send(op="beat", step=self.step, **figures)

    def hand_over(self) -> None:
        """A process that was forked from this one has the line now."""
        self._call.hand_over()

    def close(self) -> None:
        """Hang up without a word."""
        self._closed.set()
        self._call.hang_up()

    # The threads

    def _listen(self) -> None:
        """Take what the coordinator says; when it is not heard any more, free the main thread and call again."""
        while True:
            with contextlib.suppress(OSError, LookupError, TypeError, ValueError):  # it said what can't be read
                for message in self._call.messages(self._deaf_s):
                    self._hear(message)
            self._call.hang_up()
            if self._closed.is_set():
                return
            self._broken = max(self._broken, self._guarded)  # without the coordinator nobody steps
            self._free_main()
            try:
                again = call_again(
                    lambda: self._make(self._where(), connect_s=REDIAL_BOUND_S, greet_s=DEAF_S),
                    closed=self._closed,
                    hold_s=self._spec.elastic.hold_s,
                    cut_off=lambda: self._words.put(Save(cut_off=True)),
                )
            except JoinError as error:
                self._words.put(error)
                self.over(str(error), "lost")
                return
            self._call = again or self._call
            if self._closed.is_set():  # meanwhile
                self._call.hang_up()
                return
            self._words.put(Redialled())

    def _hear(self, message: Mapping[str, Any]) -> None:
        self._regroups = message.get("regroups") or self._regroups
        match message.get("op"):
            case "group":
                self._words.put(Group.of(message))
            case "regroup":
                self._broken = int(message["generation"])
                self._free_main()
            case "boundary":
                self.boundary = True
            case "checkpoint":
                self.asked.extend(map(str, message["requests"]))
            case "heard":
                self._words.put(Heard())
            case "save":
                self._words.put(Save(cut_off=False))
            case "give_up":
                self._words.put(JoinError(str(message["text"])))
            case "session":
                self._closed.set()
                self.dismissed()
            case "over":
                self._words.put(RunOver(str(message["text"]), str(message["state"])))
                self.over(str(message["text"]), str(message["state"]))

    def _free_main(self) -> None:
        if 0 <= self._guarded <= self._broken:
            self._freed = self._freed or moment()
            self._free()

    def _beat(self) -> None:
        while not self._closed.wait(beat_s(len(self._spec.members))):
            self.beat()
            self._free_main()  # once more: a group that was being made may have opened further sockets
            waits = not self._let_go and (self._forming or self.arrived > self.step)
            if self._freed is not None and is_stuck(self._freed, moment(), waits=waits):
                self._freed = None
                self.stuck()
