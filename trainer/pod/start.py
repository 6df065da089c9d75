"""The first process of a pod: `python -m motley.trainer pod --description FILE`.

It does here what a console does over SSH: lays the user's files down, makes the spec of this host, starts the
supervisor, and follows the run to its end.

Standard output has the run's records (`trainer.pod.records`). The exit code says what is to become of the pod:

| code | means | the manifests have the operator |
|---|---|---|
| 0 | the run is finished | take the pod for done |
| 1 | it has failed, or the pod was told nonsense | end the job |
| 4 | it was stopped; said by the pod that leads | end the job |
| 128 and above | it was ended from outside (143), or the one that leads was (205) | make another pod in its place |

Where a console applied the manifests, a pod stays a while when its run has ended, for that to bring home what is there.

A pod that is to end (an eviction, a node that is drained) leaves the run to the others at once. Where no console is
about, which would name another leader, the one that leads has rank 0 write a checkpoint first, and others leave after
`STAYS_S`: when the whole job is deleted, all are asked at the same moment.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from motley.trainer.bootstrap import unpack_tree
from motley.trainer.contract.spec import Spec
from motley.trainer.contract.wire import Event
from motley.trainer.host import process_title, processes
from motley.trainer.host.exit_codes import Exit
from motley.trainer.host.paths import project_folder, read_json, run_folder
from motley.trainer.pod import attempts, meeting, place
from motley.trainer.pod.description import Description, spec_of
from motley.trainer.pod.records import Records

NAMED_S = 20.0  # for a console to name another leader than one whose pod was lost
STAYS_S = 5.0  # of a pod that is to end, for a checkpoint of the one that leads: it is written by the group as it is
LOOK_S = 0.5  # between two looks at what the run has told
ROOM_BYTES = 4096  # as `trainer.supervisor.daemonize` wants it
FINISHED, FAILED, STOPPED, ENDED, LOST = 0, 1, 4, 128 + signal.SIGTERM, int(Exit.PEER_LOST)
CODES = {"finished": FINISHED, "failed": FAILED, "stopped": STOPPED, "lost": LOST}


class Pod:
    """One pod, from its first word to its exit code."""

    def __init__(self, description: Description, where: place.Place) -> None:
        self._description = description
        self._where = where
        self._folder = run_folder(description.spec.run, where.host)
        self._records = Records(self._folder)
        self._asked_to_end = False
        self._reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(writer)
        signal.signal(signal.SIGTERM, self._on_term)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # wakes `_wait`
        processes.become_subreaper()  # the supervisor detaches itself, and is ours then

    def run(self) -> int:
        """The exit code. Raises OSError, or ValueError for what can't be right."""
        run = self._description.spec.run
        if attempts.is_finished(self._folder):
            self.say(f"'{run}' is finished already: nothing is left to do")
            return FINISHED
        if (aside := attempts.put_aside(self._folder)) is not None:
            self.say(f"an earlier attempt of '{run}' is in {aside}")
        try:
            leader, address = self._who_leads(patience_s=NAMED_S if aside is not None else 0.0)
        except meeting.Unmet as error:
            self.say(str(error), "error")
            return ENDED if self._asked_to_end else LOST
        resume = self._to_go_on_from() if leader == self._where.host else ("", "")
        spec = spec_of(
            self._description, self._where.host, leader=leader, address=address,
            token=os.environ[place.TOKEN], resume=resume, python=sys.executable,
        )  # fmt: skip
        supervisor: int | None = self._start(spec)
        code = LOST
        while supervisor is not None:
            code = self._follow(supervisor)
            supervisor = self._stay(address)
        return code

    def _to_go_on_from(self) -> tuple[str, str]:
        """The newest checkpoint that earlier attempts have left on any host, else that which the run is asked to go on
        from: its file, and of which run. Raises ValueError where there is none of those that are asked for."""
        spec = self._description.spec
        mine = attempts.left(self._folder.parent.parent, spec.run)
        if mine:
            attempts.note_before(self._folder, mine)
        if (found := attempts.first_whole(mine, self._warn)) is not None:
            self.say(f"goes on from the newest checkpoint of the earlier attempt '{found.attempt}': {found.told}")
            return str(found.path), found.attempt
        if not spec.resume:
            return "", ""
        asked = Path(spec.resume)
        name = asked.name if asked.suffix == ".pt" else ""
        place = asked.parent if name else asked
        there = attempts.left(place.parent, place.name)
        found = attempts.first_whole((one for one in there if not name or one.path.name == name), self._warn)
        if found is None:
            which = f"no good checkpoint {asked.stem}" if name else "no good checkpoint" if there else "no checkpoint"
            others = f"; there are {', '.join(dict.fromkeys(one.path.stem for one in there))}" if name and there else ""
            raise ValueError(f"--resume '{spec.resume_of}': the volume has {which} in {place}{others}")
        self.say(f"goes on from '{spec.resume_of}': {found.told}")
        return str(found.path), spec.resume_of

    def _warn(self, text: str) -> None:
        self.say(text, "warning")

    def say(self, text: str, level: Any = "info") -> None:
        """A word of the pod itself, as a record among the run's."""
        event = Event(time=time.time(), host=self._where.host, source="pod", kind="note", text=text, level=level)
        self._records.say(event)

    def _who_leads(self, *, patience_s: float) -> tuple[str, str]:
        """The host and its address. Where a console is about, another one may have taken the place of the first, or is
        to do so within `patience_s`. Raises `meeting.Unmet`."""
        spec, hosts = self._description.spec, self._description.hosts
        others = {n: h for n, h in zip(self._description.pods, hosts) if h not in (hosts[0], self._where.host)}
        if self._where.leads:
            waited_s = 0.0
            while (other := meeting.found(list(others), spec.port)) is None and others and waited_s < patience_s:
                if self._wait(meeting.PAUSE_S):
                    raise meeting.Unmet("the pod was asked to end before the run had begun")
                waited_s += meeting.PAUSE_S
            if other is None:
                return self._where.host, meeting.own_address(os.environ.get(place.IP, ""))
            self.say(f"{others[other[0]]} leads the run by now: this pod joins it")
            return others[other[0]], other[1]
        name, address = meeting.meet(
            [self._where.leader, *others], spec.port, patience_s=spec.options.join_timeout_s, wait=self._wait,
            say=self.say,
        )  # fmt: skip
        return others.get(name, hosts[0]), address

    def _start(self, spec: Spec) -> int:
        """The supervisor's process. Raises OSError with what it says when it can't start."""
        tags = processes.tags(spec.run, spec.host, self._folder)
        env = {**place.for_ranks(os.environ), **tags, "PYTHONUNBUFFERED": "1", **process_title.room(ROOM_BYTES)}
        words = [sys.executable, "-m", "motley.trainer", "supervise", *process_title.room_for_words()]
        done = subprocess.run(words, input=spec.to_json().encode(), stdout=subprocess.PIPE, env=env, check=False)
        try:
            answer = json.loads(done.stdout.splitlines()[-1])
        except (IndexError, ValueError) as error:
            raise OSError(f"the supervisor did not start: exit code {done.returncode}") from error
        if not answer["ok"]:
            raise OSError(answer["error"])
        return int(answer["pid"])

    def _follow(self, supervisor: int) -> int:
        """Until the supervisor has ended."""
        ends_at: float | None = None
        while not self._ended(supervisor):
            self._records.print_new()
            self._wait(LOOK_S)
            if self._asked_to_end and ends_at is None:
                self.say("this pod is asked to end", "warning")
                alone = not self._description.stays_s
                ends_at = time.monotonic() + (STAYS_S if alone else 0.0)
                if alone and self._where.leads:
                    ends_at = math.inf
                    os.kill(supervisor, signal.SIGTERM)
            if ends_at is not None and time.monotonic() >= ends_at:
                os.kill(supervisor, signal.SIGKILL)
        self._records.print_new(whole=True)
        if self._asked_to_end:
            return ENDED
        return self._code(self._state())

    def _stay(self, leader: str) -> int | None:
        """For a console that brings home what is here, or brings this host back into the run: until nobody has read
        anything for a while, or the pod is to end. Returns the supervisor that has been started again here.

        One that was taken out of the run stays as long as the run goes on: no other pod is to come in its place.
        """
        quiet_s, stays_s = 0.0, self._description.stays_s if self._state() in CODES.keys() - {"lost"} else 0.0
        taken_out = self._state() == "stopped" and not self._where.leads
        while quiet_s < stays_s and not self._asked_to_end:
            self._wait(LOOK_S)
            self._ended(0)
            if self._state() not in CODES:
                return int(read_json(self._folder / "state.json")["pid"])
            busy = _read_from(Path.home()) or (taken_out and meeting.answers(leader, self._description.spec.port))
            quiet_s = 0.0 if busy else quiet_s + LOOK_S
        return None

    def _state(self) -> str:
        return str(read_json(self._folder / "state.json").get("state"))

    def _code(self, state: str) -> int:
        """Whether a run was stopped for good, the pod that leads knows: others end so too where it was evicted."""
        return LOST if state == "stopped" and not self._where.leads else CODES.get(state, LOST)

    def _ended(self, supervisor: int) -> bool:
        """Whether it has; others that have ended below the first process of a container are seen off too."""
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        return not os.path.exists(f"/proc/{supervisor}")

    def _wait(self, seconds: float) -> bool:
        """For a signal, at most so long. Whether the pod is to end."""
        if select.select([self._reader], [], [], seconds)[0]:
            os.read(self._reader, 4096)
        return self._asked_to_end

    def _on_term(self, *_: object) -> None:
        self._asked_to_end = True


def run_pod(file: Path) -> int:
    """The verb `pod`. What is wrong with the pod itself is said on stderr, in a line."""
    try:
        description = laid_down(Description.from_json(file.read_bytes()), file.parent)
        where = place.place_of(os.environ, description.hosts)
        if place.TOKEN not in os.environ:
            raise ValueError(f"{place.TOKEN} is not set: the manifest takes it from the run's Secret")
        return Pod(description, where).run()
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"motley: {error}", file=sys.stderr, flush=True)
        return FAILED


def _read_from(home: Path) -> bool:
    """Whether a console has a process here: it works in a folder of its own code."""
    code = str(home / ".motley" / "code")
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{pid}/cwd").startswith(code):
                return True
    return False


def laid_down(description: Description, beside: Path) -> Description:
    """The user's files are in this home then, from what lies beside the description."""
    for tree in description.trees:
        unpack_tree.store(tree, {}, (beside / f"{tree}.tar.gz").read_bytes())
    if not description.data_tree:
        return description
    return description.with_data(str(project_folder(description.data_tree)))
