"""What is known of a run: each record of the feed goes in, a frozen snapshot comes out. No UI, no clock of its own.

The app and the plain printer feed it from a session's callback and ask for a snapshot when they paint:

    store = Store()
    session = Session(cluster, run, emit=lambda record: store.apply(record, time.time()))
    view = store.snapshot()

Times of the hosts are turned into the master's with the offset that `feed.Link` brings.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from motley.console.state.decisions import Decisions
from motley.console.state.event_data import failed, folded, number, one_line, problem_of, unanswered, waiting_of
from motley.console.state.event_log import EventLog
from motley.console.state.own_command import Paste, plainly
from motley.console.state.participants import Participants
from motley.console.state.script_figures import ScriptFigures
from motley.console.state.snapshot import LogEntry, Problem, Regroup, RunPhase, Snapshot, Waiting
from motley.console.state.step_figures import StepFigures
from motley.console.state.told_by_rank_0 import ToldByRank0
from motley.remote.diagnosis.failures import Failures
from motley.remote.experiment.records import grouped
from motley.remote.feed import CaughtUp, Ended, FeedRecord, Layout, Link, LogLine, PartialLine, Progress, StepsBefore
from motley.trainer.contract.wire import Event, Level, Reading, Sample, Usage

QUIET = frozenset({"report", "phase", "realised", "fault", "fingerprint"})  # kinds shown elsewhere than in the log


class Store:
    """The state of one run. Not for several threads: everything happens on the event loop's."""

    def __init__(
        self, *, readonly: bool = False, told: Callable[[LogEntry], None] | None = None, paste: Paste = plainly
    ) -> None:
        """`told` hears each line of the log as it comes. `paste`: commands that are told."""
        self._paste = paste
        self._readonly = readonly
        self._epochs: int | None = None
        self._told = ToldByRank0()
        self._roster = Participants()
        self._layout: Layout | None = None
        self._phase: RunPhase = "idle"
        self._before_stop: RunPhase = "idle"
        self._started: float | None = None
        self._ended: Ended | None = None
        self._ended_at: float | None = None
        self._steps = StepFigures(self._roster)
        self._read = ScriptFigures()
        self._decisions = Decisions()
        self._regroups: list[Regroup] = []
        self._restarts = 0
        self._is_session = False  # a script that has called motley.session(): it is told of as a task is
        self._waiting: Waiting | None = None
        self._advice = ""
        self._words: dict[str, str] = {}  # the newest event of those in `_on_word`
        self.behind = False  # what the run had done before it was found is still being read
        self._offered: tuple[str, ...] = ()
        self._problems: list[Problem] = []
        self._failures = Failures(self._roster.clocks)
        self._back: dict[str, float] = {}  # when a host took part again, by the master's clock
        self._log = EventLog(told)
        self._said: dict[str, str] = {}  # the newest progress in the log, by host
        self._take: dict[type, Callable[[Any, float], None]] = {
            Sample: self._sample,
            Reading: self._reading,
            Usage: lambda usage, _: self._roster.hear_usage(usage),
            LogLine: self._log_line,
            PartialLine: lambda line, _: self._roster.hear_partial(line),
            Event: self._event,
            Layout: self._lay_out,
            Progress: self._progress,
            Link: self._link,
            CaughtUp: lambda *_: setattr(self, "behind", False),
            StepsBefore: lambda before, _: self._steps.skip(before),
            Ended: self._end,
        }
        self._on: dict[str, Callable[[Event], None]] = {
            "phase": lambda event: self._roster.set_phase(event, one_line(event.data.get("phase", ""))),
            "rank_failed": lambda event: self._roster.set_phase(
                event, "ended" if event.data.get("root_cause") is False else "failed"
            ),
            "group": self._on_group,
            **dict.fromkeys(("first_shares", "warm_restart", "cold_restart", "results"), self._on_word),
            "lost": self._on_lost,
            "leader": self._roster.hear_leader,
            "restarted": lambda event: setattr(self, "_restarts", int(number(event.data.get("restart")) or 0)),
            "session": lambda _: self._on_session(),
            "decision": lambda event: self._decisions.decided(event, self._roster.names()),
            "realised": self._decisions.realised,
            "report": self._told.report,
            "advice": self._on_advice,
            "evaluated": self._told.evaluated,
            "answers": self._told.answered,
            "stopping": lambda _: self.stopping(),
        }

    # What goes in

    def learn(self, *, speeds: Mapping[str, float], epochs: int | None) -> None:
        """What cluster.toml says and no record does: how slow emulated hosts are made, and the epochs asked for."""
        self._roster.speeds = dict(speeds)
        self._epochs = epochs

    def begin(self, now: float) -> None:
        """The command was given, or something of the run was heard."""
        self._phase = "starting" if self._phase == "idle" else self._phase
        if self._started is None:
            self._started = now

    def apply(self, record: FeedRecord, now: float) -> None:
        self._take[type(record)](record, now)

    def fail(self, problems: Iterable[Problem], now: float) -> None:
        """The run could not be started or followed: why, for the screen."""
        self._problems.extend(problems)
        self._end(Ended(state="failed"), now)

    def stopping(self) -> None:
        """A stop was asked for."""
        if self._phase not in ("stopping", "ended"):
            self._before_stop, self._phase = self._phase, "stopping"

    def unstopped(self, problems: Iterable[Problem], now: float) -> None:
        """The stop failed: the run is as it was."""
        self._problems.extend(problems)
        if self._phase == "stopping":
            self._phase = self._before_stop
        self.note("the stop failed: the run goes on", now, "error")

    def offer(self, hosts: Iterable[str]) -> tuple[str, ...]:
        """The hosts that cluster.toml has now: those the run does not have can be brought in. Returns the new ones."""
        before = self._offered
        self._offered = tuple(host for host in hosts if not self._roster.has(host))
        return tuple(host for host in self._offered if host not in before)

    def settle(self, host: str, problems: Iterable[Problem]) -> None:
        """What is wrong with a host from now on; what was before counts no more."""
        self._failures.forget(host)
        self._problems = [problem for problem in self._problems if problem.host != host] + list(problems)

    def note(self, text: str, now: float, level: Level = "info") -> None:
        """A line of the console's own in the log."""
        self._add_log(now, "console", text, level)

    def _sample(self, sample: Sample, now: float) -> None:
        if self._phase in ("idle", "starting"):
            self.begin(now)
            self._phase = "running"
        if self._script:  # word of the session itself is still to come
            self._on_session()
        self._roster.hear(sample)
        self._waiting = None
        self._steps.add(sample, self._batch)

    def _reading(self, reading: Reading, _: float) -> None:
        self._read.add(reading, self._roster.at(reading.host, reading.time))

    @property
    def _batch(self) -> int | None:
        return (self._layout.global_batch if self._layout else None) or self._told.batch

    @property
    def _script(self) -> bool:
        """What runs tells us of no steps; its output may."""
        return self._layout is not None and self._layout.script and not self._is_session

    def _log_line(self, line: LogLine, now: float) -> None:
        self._log.add(self._roster.hear_line(line, now))

    def _event(self, event: Event, now: float) -> None:
        at = self._roster.at(event.host, event.time)
        # A run that was found on the hosts began before this console did.
        attached = self._layout is not None and self._layout.attached
        self.begin(at if attached else now)
        if attached and self._started is not None:
            self._started = min(self._started, at)
        self._failures.hear(event)
        if event.kind not in QUIET:
            label = "console" if event.source == "console" else event.host
            for line in event.text.splitlines() or [""]:
                self._add_log(at, label, line, event.level, fold=folded(event))
        problem = problem_of(event)
        if problem is not None and at >= self._back.get(problem.host, 0.0):
            self._problems.append(problem)
        if self._roster.is_deposed(event):
            return
        if event.kind in ("group", "lost"):
            self._advice = ""  # it was about the group before
        if event.kind in ("waiting", "holding"):
            self._waiting = waiting_of(event, at)
        elif event.kind in self._on:
            self._on[event.kind](event)

    def _on_group(self, event: Event) -> None:
        self._waiting = None
        if self._script and self._phase in ("idle", "starting"):
            self._phase = "running"  # no sample will say so
        regroup = self._roster.regroup(event)
        if regroup is not None:
            self._regroups.append(regroup)
            for host in regroup.joined:  # it is at work again: what had gone wrong there is over
                self._back[host] = self._roster.at(event.host, event.time)
                self.settle(host, ())
        members = [int(n) for m in grouped(event) if (n := number(m.get("member"))) is not None]
        self._steps.formed(int(number(event.data.get("generation")) or 0), members, self._batch)

    def _on_lost(self, event: Event) -> None:
        self._roster.lose(event)
        member = number(event.data.get("member"))
        if member is not None:
            self._steps.lost(int(member), self._batch)

    def _on_word(self, event: Event) -> None:
        self._words[event.kind] = event.text

    def _on_session(self) -> None:
        """Groups are counted from 0 again, whatever the starts of the script were."""
        if not self._is_session:
            self._is_session, self._roster.generation = True, 0
            self._steps = StepFigures(self._roster)
            self._steps.expect_ranks(len(self._layout.ranks) if self._layout else 0)

    def _on_advice(self, event: Event) -> None:
        self._advice = event.text if event.data.get("host") or event.data.get("global_batch") else ""

    def _lay_out(self, layout: Layout, now: float) -> None:
        self.behind = layout.behind if self._layout is None else self.behind
        self._layout = layout
        self.begin(now)
        self._told.steps_total = layout.steps_total or self._told.steps_total
        self._roster.lay_out(layout)
        self._steps.expect_ranks(len(layout.ranks))

    def _progress(self, record: Progress, now: float) -> None:
        self.begin(now)
        fresh = self._roster.progress(record)
        what = f"{record.stage}: {record.text}"
        if (record.done or record.failed or fresh) and self._said.get(record.host) != what:
            self._said[record.host] = what
            self._add_log(now, record.host, what, "error" if record.failed else "info")

    def _link(self, link: Link, now: float) -> None:
        self._steps.heard(self._roster.on(link.host), link.up, self._batch)
        if self._roster.link(link):
            self._add_log(now, link.host, link.text, "info" if link.up else "warning")

    def _end(self, ended: Ended, now: float) -> None:
        self._ended, self.behind = ended, False
        self._phase = "ended"
        self._ended_at = now
        self._waiting = None
        run = self._layout.run if self._layout else "RUN"
        self._problems += [unanswered(host, run, self._paste) for host in ended.unanswered]

    def _add_log(self, at: float, label: str, text: str, level: Level = "info", *, fold: str = "") -> None:
        self._log.add(LogEntry(time=at, label=label, text=text, level=level, fold=fold))

    # What comes out

    def snapshot(self) -> Snapshot:
        layout, ended, steps = self._layout, self._ended, self._steps
        shown = None if self.behind else steps.shown()
        return Snapshot(
            phase="starting" if self.behind and self._phase == "running" else self._phase,
            behind=self.behind,
            state=ended.state if ended else "",
            run=layout.run if layout else "",
            task=layout.task if layout else "",
            policy=layout.policy if layout and not self._script else "",
            first_shares=self._words.get("first_shares", ""),
            restart=self._words.get("warm_restart") or self._words.get("cold_restart", ""),
            script=self._script,
            has_results="results" in self._words,
            read=self._read.shown() if self._script and not self.behind else None,
            global_batch=self._batch,
            leader=layout.leader if layout else "",
            attached=bool(layout and layout.attached),
            readonly=self._readonly,
            step=0 if self.behind else steps.step,
            steps_total=self._told.steps_total,
            epoch=None if self.behind else steps.epoch,
            epochs=self._told.epochs or (None if layout and layout.attached else self._epochs),
            **self._told.evaluation(),
            **(shown.figures() if shown else {}),
            pace_ms=steps.pace_ms,
            gain=steps.gain,
            saved_s=steps.saved_s,
            started=None if self.behind else self._started,
            ended=self._ended_at,
            ranks=self._roster.views(shown, steps.is_silent),
            hosts=tuple(self._roster.hosts.values()),
            decisions=self._decisions.shown(),
            regroups=tuple(self._regroups),
            restarts=self._restarts,
            waiting=self._waiting,
            advice=self._advice,
            offered=tuple(host for host in self._offered if not self._roster.has(host)),
            problems=self._all_problems(),
            throughput=() if self.behind else (self._read.rates if self._script else steps.throughput).points(),
            losses=() if self.behind else (self._read.losses if self._script else steps.losses).points(),
            log_total=self._log.total,
            summary=ended.summary if ended else {},
            unanswered=ended.unanswered if ended else (),
        )

    def _all_problems(self) -> tuple[Problem, ...]:
        """What failed comes first: by now the clocks may be known better than when it was heard."""
        report = self._failures.report()
        run = self._layout.run if self._layout else "RUN"
        return (*((failed(report, run, self._paste),) if report else ()), *self._problems)

    def log(self) -> deque[LogEntry]:
        """The newest lines, oldest first; `snapshot().log_total` says how many there ever were."""
        return self._log.entries
