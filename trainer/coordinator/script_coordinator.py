"""The coordinator of a run of the user's own script: when it is started on whom, and what the run came to.

`trainer.coordinator.serve` calls it in place of its own when the spec has a script. Members call it as those of a task
do (`trainer.membership`, `trainer.switchboard`), but each is a `trainer.script`, which starts the script, and says how
it ended: `{"op": "exited", "generation": 0, "code": 1}`. `trainer.attempts` decides; this file talks.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from trainer import said
from trainer.attempts import Attempts, Gone, Holding, LetGo, News, Over, Started, Trouble
from trainer.lines import Line
from trainer.news import Ready
from trainer.service import Service, seats
from trainer.spec import Spec
from trainer.wire import RunState


class ScriptCoordinator(Service):
    """Serves one run until its script has ended everywhere, or can't be started any more."""

    def __init__(self, spec: Spec, folder: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(spec, folder, spec.members, clock=clock)
        self._hosts = {m.member: m.host for m in spec.members}
        self._attempts = Attempts(
            self._hosts,
            lost_after_s=spec.elastic.lost_after_s,
            restarts=spec.elastic.restarts,
            least=spec.elastic.min_hosts,
            term=self._lead.term,
            expected=[m.member for m in spec.members if m.host in self._lead.hosts],
        )
        self._started: Started | None = None  # not everybody has said yet that the script runs
        self._started_at = clock()
        self._state: RunState | None = None  # at the end
        self._root: int | None = None  # whose script failed

    # What the switchboard tells

    def called(self, line: Line) -> None:
        self._attempts.connected(line.member.member, now=self._clock())
        self._act()

    def take(self, line: Line, message: dict[str, Any]) -> None:
        member, now = line.member.member, self._clock()
        line.note(message, now)
        match message["op"]:
            case "beat":
                self._attempts.beat(member, now=now)
            case "phase" | "ended":
                pass
            case "ready":
                self._attempts.ready(member, Ready.of(message), now=now)
                if self._attempts.running and member not in self._attempts.group:
                    self._journal.write("note", f"{line.name} is back, and waits for the next restart of the script")
            case "joined":
                self._see_whether_started(now)
            case "exited":
                code, generation = said.whole(message["code"]), said.whole(message["generation"])
                line.ended = "finished" if code == 0 else None
                if not self._stop_asked():
                    self._attempts.exited(member, generation, code, now=now)
            case other:
                raise ValueError(f"unknown message {said.short(other)}")
        self._act()

    def hung_up(self, line: Line) -> None:
        member = line.member.member
        if line.ended == "stopped" or self._stop_asked():
            line.ended = "stopped"
            self._end("stopped")
        elif line.ended == "failed" and self._state is None:  # its minder, not the script
            self._root = member
            self._end("failed", f"{line.name} failed")
        elif self._attempts.missing and not self._lead.term:
            line.ended = "failed"
            why = f"{line.name} ended before the script was started"
            self._gathering.give_up(why, self._clock(), self._attempts.missing)
        else:
            self._attempts.lost(member, now=self._clock())
            self._act()

    # What the attempts decide

    def _act(self) -> None:
        for news in self._attempts.take_news():
            self._do(news)
        self.ledger.regroups = self._regroups.records()

    def _do(self, news: News) -> None:
        match news:
            case Started():
                self._start(news)
            case LetGo(generation=generation, members=members):
                for member in members:
                    self._lines[member].send(op="regroup", generation=generation)
            case Gone(member=member):
                self._gone(self._lines[member])
            case Holding(hosts=hosts):
                self._hold(self._too_few(hosts), hosts)
            case Over(state=state, root=root, code=code, why=why):
                self._root = root
                if root is not None:
                    self._end(state, f"{self._lines[root].name} failed: {how_it_ended(code)}")
                elif state == "failed":
                    self._used_up(why)
                else:
                    self._end(state)

    def _start(self, news: Started) -> None:
        self._held_at, self._started, self._started_at = None, news, self._clock()
        lines = [self._lines[m] for m in news.members]
        if not news.generation:
            for name in ("spawn_s", "import_s"):
                self.ledger.phases[name] = max(line.times.get(name, 0.0) for line in lines)
        for trouble in news.why:
            self._regroups.gone(trouble.member, "lost", 0)
        self._regroups.formed(news.generation, news.members, 0)
        for rank, line in enumerate(lines):
            line.ended, line.gone = None, False
            line.send(
                op="group", generation=news.generation, rank=rank, members=news.members, store=news.store, source=0,
                step=0, term=self._lead.term, attempt=self._attempts.seats[line.member.member].attempt, stale=False,
                fits={},
            )  # fmt: skip
        hosts = list(dict.fromkeys(line.member.host for line in lines))
        count = f"{len(lines)} rank{'s' * (len(lines) != 1)} on {', '.join(hosts)}"
        self._journal.write(
            "group", f"the script starts: {count}", generation=news.generation, world_size=len(lines),
            members=seats(lines), step=0,
        )  # fmt: skip
        if news.generation:
            most = self.spec.elastic.restarts
            text = f"restart {news.generation} of {most} (elastic.restarts): {self._told(news.why)}"
            self._journal.write(
                "restarted", text, "warning", restart=news.generation, most=most, pause_s=news.pause_s,
                why=[{"member": t.member, "host": self._hosts[t.member], "cause": t.cause} for t in news.why],
            )  # fmt: skip

    def _see_whether_started(self, now: float) -> None:
        started = self._started
        if started is None or any(self._lines[m].phase != "training" for m in started.members):
            return
        self._started = None
        if not started.generation:
            self.ledger.phases["rendezvous_s"] = now - self._started_at
        elif started.pause_s is not None:
            self._regroups.resumed(started.generation, started.pause_s + now - self._started_at)

    def _told(self, why: Sequence[Trouble]) -> str:
        """Troubles in words: `rank 1 on box2 was lost`."""
        words = []
        for trouble in why:
            how = "was lost" if trouble.cause == "lost" else how_it_ended(-trouble.signal)
            words.append(f"{self._lines[trouble.member].name} {how}")
        return "; ".join(dict.fromkeys(words)) or "its coordinator was replaced"

    def _gone(self, line: Line) -> None:
        line.hang_up()  # it may be silent
        line.gone, line.phase = True, "gone"
        member, host = line.member.member, line.member.host
        self._journal.write("lost", f"{line.name} was lost", "warning", member=member, host=host, cause="lost", step=0)

    def _used_up(self, why: Sequence[Trouble]) -> None:
        most = self.spec.elastic.restarts
        times = f"the script was started anew {most} time{'s' * (most != 1)} already" if most else "it is not restarted"
        text = f"{self._told(why)}; {times} (elastic.restarts = {most})"
        self._journal.write("note", text, "error")
        self._end("failed", text)

    # The clock, and ends

    def _tick(self, now: float) -> None:
        self._attempts.tick(now)
        self._act()

    def _missing(self) -> list[int]:
        return self._attempts.missing

    def _without(self, member: int) -> None:
        self._attempts.lost(member, now=self._clock())
        self._act()

    def _gave_up(self) -> None:
        self._end("failed", self.ledger.cause)

    def _held_too_long(self, why: str) -> None:
        self._end("failed", why)

    def _end_state(self) -> RunState:
        return self._state or ("stopped" if self._stopping else "failed")

    def _end_for(self, line: Line, state: RunState) -> RunState:
        """Those that end by another's fault are lost."""
        return "lost" if state == "failed" and line.member.member != self._root else state

    def _end(self, state: RunState, cause: str | None = None) -> None:
        if self._state is None:
            self._state = state
            self.ledger.cause = cause
            for line in self._lines.values():
                line.ended = line.ended or ("stopped" if state == "stopped" else None)
            self._over.set()


def how_it_ended(code: int) -> str:
    """An exit code in words.

    >>> how_it_ended(3), how_it_ended(-9)
    ('exit code 3', 'was ended by signal 9 (SIGKILL)')
    """
    if code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name if -code in signal.Signals._value2member_map_ else "unknown"
    return f"was ended by signal {-code} ({name})"
