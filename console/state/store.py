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

from console.curve import Curve
from console.events import decision_of, failed, number, one_line, problem_of, waiting_of
from console.roster import Roster
from console.snapshot import Decision, LogEntry, Problem, Regroup, RunPhase, Snapshot, Waiting
from console.tracks import StepTable, StepTotal
from remote.failures import Failures
from remote.feed import Ended, FeedRecord, Layout, Link, LogLine, Progress
from trainer.wire import Event, Level, Sample

LOG_LIMIT = 5000
DECISION_LIMIT = 200
RECENT_STEPS = 16  # that the cluster's throughput, loss and step time are averaged over
QUIET = frozenset({"report", "phase", "realised", "fault"})  # kinds shown elsewhere than in the log


class Store:
    """The state of one run. Not for several threads: everything happens on the event loop's."""

    def __init__(self, *, readonly: bool = False) -> None:
        self._readonly = readonly
        self._epochs: int | None = None
        self._roster = Roster()
        self._layout: Layout | None = None
        self._phase: RunPhase = "idle"
        self._before_stop: RunPhase = "idle"
        self._started: float | None = None
        self._ended: Ended | None = None
        self._ended_at: float | None = None
        self._steps = StepTable()
        self._throughput = Curve()
        self._losses = Curve()
        self._recent: deque[StepTotal] = deque(maxlen=RECENT_STEPS)
        self._first = StepTotal(step=0)  # all before the first change of the split
        self._step = 0
        self._steps_total: int | None = None
        self._epoch: int | None = None
        self._accuracy: float | None = None
        self._best_accuracy: float | None = None
        self._decisions: deque[Decision] = deque(maxlen=DECISION_LIMIT)
        self._regroups: list[Regroup] = []
        self._restarts = 0
        self._waiting: Waiting | None = None
        self._advice = ""
        self._offered: tuple[str, ...] = ()
        self._problems: list[Problem] = []
        self._failures = Failures(self._roster.clocks)
        self._log: deque[LogEntry] = deque(maxlen=LOG_LIMIT)
        self._log_total = 0
        self._said: dict[str, str] = {}  # the newest progress in the log, by host
        self._take: dict[type, Callable[[Any, float], None]] = {
            Sample: self._sample,
            LogLine: self._log_line,
            Event: self._event,
            Layout: self._lay_out,
            Progress: self._progress,
            Link: self._link,
            Ended: self._end,
        }
        self._on: dict[str, Callable[[Event], None]] = {
            "phase": lambda event: self._roster.set_phase(event, one_line(event.data.get("phase", ""))),
            "rank_failed": lambda event: self._roster.set_phase(
                event, "ended" if event.data.get("root_cause") is False else "failed"
            ),
            "group": self._on_group,
            "lost": self._roster.lose,
            "restarted": self._on_restarted,
            "decision": lambda event: self._decisions.append(decision_of(event, self._roster.names())),
            "realised": self._on_realised,
            "report": self._on_report,
            "advice": self._on_advice,
            "evaluated": self._on_evaluated,
            "stopping": lambda _: self.stopping(),
        }

    # What goes in

    def learn(self, *, speeds: Mapping[str, float], epochs: int | None) -> None:
        """What cluster.toml says and no record does: how slow emulated hosts are made, and the epochs asked for."""
        self._roster.speeds = dict(speeds)
        self._epochs = epochs

    def begin(self, now: float) -> None:
        """The command was given, or something of the run was heard."""
        if self._phase == "idle":
            self._phase = "starting"
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
        self._roster.add(sample)
        self._waiting = None
        self._epoch = sample.epoch
        if sample.step > self._step:
            self._step = sample.step
        ranks = len(self._roster.group) or len(self._roster.ranks)
        batch = self._layout.global_batch if self._layout else None
        for total in self._steps.add(sample, ranks=ranks, global_batch=batch):
            self._finished(total)

    def _finished(self, total: StepTotal) -> None:
        if self._recent and total.step <= self._recent[-1].step:  # the run went back: what came after is no more
            self._throughput.cut(total.step - 1)
            self._losses.cut(total.step - 1)
            self._recent.clear()
            self._step = total.step
        self._recent.append(total)
        self._throughput.add(total.step, total=total.samples, weight=total.ms / 1000)
        self._losses.add(total.step, total=total.loss_sum, weight=total.loss_samples)
        if not self._decisions and total.step > 1:  # the first step warms up
            self._first.samples += total.samples
            self._first.ms += total.ms

    def _log_line(self, line: LogLine, now: float) -> None:
        self._add_log(now, self._roster.label(line.host, line.member), line.text)

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
                self._add_log(at, label, line, event.level)
        problem = problem_of(event)
        if problem is not None:
            self._problems.append(problem)
        if event.kind in ("waiting", "holding"):
            self._waiting = waiting_of(event, at)
        elif event.kind in self._on:
            self._on[event.kind](event)

    def _on_group(self, event: Event) -> None:
        self._waiting = None
        self._advice = ""  # it was about the group before
        if self._layout is not None and self._layout.script and self._phase in ("idle", "starting"):
            self._phase = "running"  # no sample will say so
        regroup = self._roster.regroup(event)
        if regroup is not None:
            self._regroups.append(regroup)

    def _on_restarted(self, event: Event) -> None:
        self._restarts = int(number(event.data.get("restart")) or 0)

    def _on_realised(self, event: Event) -> None:
        for i, decision in enumerate(self._decisions):
            if decision.step == number(event.data.get("step")):
                self._decisions[i] = decision_of(event, decision.names, known=decision)

    def _on_report(self, event: Event) -> None:
        total = number(event.data.get("steps_total"))
        self._steps_total = int(total) if total else self._steps_total

    def _on_advice(self, event: Event) -> None:
        self._advice = event.text if event.data.get("host") else ""

    def _on_evaluated(self, event: Event) -> None:
        accuracy = number(event.data.get("accuracy"))
        if accuracy is not None:
            self._accuracy = accuracy
            self._best_accuracy = max(accuracy, self._best_accuracy or 0.0)

    def _lay_out(self, layout: Layout, now: float) -> None:
        self._layout = layout
        self.begin(now)
        self._steps_total = layout.steps_total or self._steps_total
        self._roster.lay_out(layout)

    def _progress(self, record: Progress, now: float) -> None:
        self.begin(now)
        fresh = self._roster.progress(record)
        what = f"{record.stage}: {record.text}"
        if (record.done or record.failed or fresh) and self._said.get(record.host) != what:
            self._said[record.host] = what
            self._add_log(now, record.host, what, "error" if record.failed else "info")

    def _link(self, link: Link, now: float) -> None:
        if self._roster.link(link):
            self._add_log(now, link.host, link.text, "info" if link.up else "warning")

    def _end(self, ended: Ended, now: float) -> None:
        self._ended = ended
        self._phase = "ended"
        self._ended_at = now
        self._waiting = None
        run = self._layout.run if self._layout else "RUN"
        for host in ended.unanswered:
            cause = "did not answer the stop: ranks may run on there"
            self._problems.append(Problem(host=host, cause=cause, remedy=f"When it is back: motley stop {run}"))

    def _add_log(self, at: float, label: str, text: str, level: Level = "info") -> None:
        self._log.append(LogEntry(time=at, label=label, text=text, level=level))
        self._log_total += 1

    # What comes out

    def snapshot(self) -> Snapshot:
        layout, ended, recent = self._layout, self._ended, self._recent
        batch = layout.global_batch if layout else None
        ms = sum(total.ms for total in recent)
        loss_samples = sum(total.loss_samples for total in recent)
        return Snapshot(
            phase=self._phase,
            state=ended.state if ended else "",
            run=layout.run if layout else "",
            task=layout.task if layout else "",
            policy=layout.policy if layout else "",
            script=bool(layout and layout.script),
            global_batch=batch,
            leader=layout.leader if layout else "",
            attached=bool(layout and layout.attached),
            readonly=self._readonly,
            step=self._step,
            steps_total=self._steps_total,
            epoch=self._epoch,
            epochs=None if layout and layout.attached else self._epochs,
            loss=sum(total.loss_sum for total in recent) / loss_samples if loss_samples else None,
            accuracy=self._accuracy,
            best_accuracy=self._best_accuracy,
            samples_per_s=sum(total.samples for total in recent) * 1000 / ms if ms > 0 else None,
            step_ms=ms / len(recent) if recent else None,
            first_samples_per_s=self._first.samples * 1000 / self._first.ms if self._first.ms > 0 else None,
            started=self._started,
            ended=self._ended_at,
            ranks=self._roster.views(batch),
            hosts=tuple(self._roster.hosts.values()),
            decisions=tuple(self._decisions),
            regroups=tuple(self._regroups),
            restarts=self._restarts,
            waiting=self._waiting,
            advice=self._advice,
            offered=tuple(host for host in self._offered if not self._roster.has(host)),
            problems=self._all_problems(),
            throughput=self._throughput.points(),
            losses=self._losses.points(),
            log_total=self._log_total,
            summary=ended.summary if ended else {},
            unanswered=ended.unanswered if ended else (),
        )

    def _all_problems(self) -> tuple[Problem, ...]:
        """What failed comes first: by now the clocks may be known better than when it was heard."""
        report = self._failures.report()
        run = self._layout.run if self._layout else "RUN"
        return (*((failed(report, run),) if report else ()), *self._problems)

    def log(self) -> deque[LogEntry]:
        """The newest lines, oldest first; `snapshot().log_total` says how many there ever were."""
        return self._log

    @property
    def log_total(self) -> int:
        return self._log_total
