"""The console without a screen: records become lines of narration, at a pace that can be read.

`cli` uses it for `--plain` and where there is no terminal; it writes to stderr, so that stdout holds data alone:

    outcome = await run_plain(plan)

Ctrl-C stops the run; a second one leaves at once and says that the run may go on. With a `readonly` plan it leaves.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from rich.cells import cell_len

from motley.console.control.cluster_watch import LOOK_S, problem
from motley.console.control.session_protocol import Outcome, Plan, SessionLike, ended, left
from motley.console.state.own_command import Paste, plainly
from motley.console.state.snapshot import LogEntry
from motley.console.state.store import Store
from motley.console.view import figures
from motley.console.view.model_answers import plain_lines
from motley.console.view.notice import in_order, told_below
from motley.console.view.run_lines import decision_text, gain_text, offer
from motley.console.view.script_lines import progress_of, script_line
from motley.console.view.styled_line import fit, text
from motley.remote.feed import CaughtUp, Ended, FeedRecord, Layout, LogLine, PartialLine
from motley.remote.ssh.new_host_keys import Ask, nobody
from motley.trainer.contract.wire import Event, Level, Reading, Sample, Usage

HISTORY = 10  # lines from before an attach
EVERY_S = 5.0  # between two lines of throughput within an epoch
LEAST_S = 1.0  # between two of short epochs
ROOTS = 4  # problems told again at the end
CALLS = 8  # lines of a traceback
LINES_PER_S = 20  # of the ranks' own output
PARTIAL_S = 10.0  # between two states of a rank's progress bar
FOLDED_S = 30.0  # between two lines of which the newest says it all: checkpoints of each epoch, who is waited for


class Printer:
    """Takes a session's records: `printer(record)` writes what is worth a line, aligned and with its time."""

    def __init__(
        self,
        *,
        write: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.time,
        history: bool = False,
        paste: Paste = plainly,
    ) -> None:
        """`history`: of a run that is attached, all that it has told before is written too."""
        self._history = history
        self._fresh: list[LogEntry] = []  # lines of the log that were not written yet
        self.store = Store(told=self._fresh.append, paste=paste)
        self._write = write or _to_stderr
        self._clock = clock
        self._last = 0.0
        self._epoch: int | None = None
        self._second = 0
        self._spoken = 0
        self._hushed = 0
        self._run = ""
        self._partial_due: dict[int, float] = {}  # by member
        self._folded_due: dict[str, float] = {}  # by name
        self._label_width = 12

    def __call__(self, record: FeedRecord) -> None:
        now = self._clock()
        self.store.apply(record, now)
        if isinstance(record, CaughtUp):
            self._begin_here(over=record.over)
        if self.store.behind and not isinstance(record, Layout):
            return
        if isinstance(record, Sample):
            self._throughput(record, now)
            return
        if isinstance(record, Reading):
            self._script_figures(now)
            return
        if isinstance(record, Usage):
            return
        if isinstance(record, PartialLine):
            self._partial(record, now)
            return
        if isinstance(record, LogLine) and not self._may_speak(now):
            self._fresh.clear()
            return
        if isinstance(record, Layout) and record.run != self._run:
            self._introduce(record, now)
        if isinstance(record, Event) and record.kind in ("decision", "realised"):
            self._decision(record, now)
            return
        self._new_log_lines()
        if isinstance(record, Event) and record.kind == "answers":
            for line in [line for one in self.store.snapshot().answers[:1] for line in plain_lines(one)]:
                self.say(line, now=now)
        if isinstance(record, Ended):
            for problem in in_order(self.store.snapshot().problems)[:ROOTS]:
                where = f"{problem.host}: " if problem.host else ""
                self.say(f"{where}{problem.cause}. {problem.remedy}", now=now)
                for line in told_below(problem, CALLS):
                    self.say(f"    {line}", now=now)
            self.say(f"the run {record.state}", now=now)

    def _begin_here(self, *, over: bool) -> None:
        """What came before the attach is the past: its last lines, or nothing of it when the run has ended."""
        past = sorted(self._fresh, key=lambda entry: entry.time)
        newest = {entry.fold: entry for entry in past}
        told = [entry for entry in past if not entry.fold or newest[entry.fold] is entry]
        shown = past if self._history else [] if over else told[-HISTORY:]
        self._fresh[:] = shown
        if len(past) > len(shown) and not over:
            what = f"{len(past) - len(shown):,} lines from before are left out: attach --plain --history shows them"
            self.say(what, now=shown[0].time if shown else None)

    def note(self, text: str, level: Level = "info") -> None:
        """A line of the console's own."""
        self.store.note(text, self._clock(), level)
        self._new_log_lines()

    def say(self, what: str, *, label: str = "motley", now: float | None = None, at_latest: bool = False) -> None:
        at = figures.clock(self._clock() if now is None else now, at_latest=at_latest)
        self._label_width = min(20, max(self._label_width, cell_len(label)))
        self._write(f"{at}  {fit(label, self._label_width)}  {what}")

    def _new_log_lines(self) -> None:
        for entry in self._fresh:
            if entry.fold and not self._history:
                if entry.time < self._folded_due.get(entry.fold, 0.0):
                    continue
                self._folded_due[entry.fold] = entry.time + FOLDED_S
            sign = "" if entry.level == "info" else f"{entry.level}: "
            self.say(sign + entry.text, label=entry.label, now=entry.time, at_latest=entry.at_latest)
        self._fresh.clear()

    def _introduce(self, layout: Layout, now: float) -> None:
        self._run = layout.run
        hosts = list(dict.fromkeys(rank.host for rank in layout.ranks))
        names = ", ".join(f"{host} (emulated)" if host in layout.emulated else host for host in hosts)
        verb = "found" if layout.attached else "run"
        batch = f", batch {layout.global_batch:,}" if layout.global_batch else ""  # a session says it later
        split = "" if layout.script else f", {layout.policy} split{batch}"
        what = f"{verb} {layout.run}: {layout.task}{split} on {names}"
        self.say(what, now=now)

    def _decision(self, event: Event, now: float) -> None:
        shown = self.store.snapshot()
        decision = next((d for d in reversed(shown.decisions) if d.step == event.data.get("step")), None)
        self._fresh.clear()
        if decision is None:
            return
        if event.kind == "decision":
            self.say(f"new split from step {decision.step}: {decision_text(decision)}", now=now)
        else:
            predicted, real = (figures.milliseconds(ms) for ms in (decision.predicted_ms, decision.realised_ms))
            self.say(f"split of step {decision.step}: predicted {predicted} ms a step, measured {real} ms", now=now)

    def _throughput(self, sample: Sample, now: float) -> None:
        pause = LEAST_S if sample.epoch != self._epoch else EVERY_S
        if now < self._last + pause:
            return
        shown = self.store.snapshot()
        if shown.rate is None:
            return
        self._last = now
        self._epoch = sample.epoch
        total = f"/{shown.steps_total:,}" if shown.steps_total else ""
        epochs = f"/{shown.epochs}" if shown.epochs else ""
        facts = [
            f"step {shown.step:,}{total}",
            f"epoch {sample.epoch + 1}{epochs}",
            f"loss {figures.loss(shown.loss)}",
            f"{figures.rate(shown.rate)} {shown.counted}/s",
        ]
        if gain := gain_text(shown):
            facts.append(gain)
        if shown.eta_s is not None:
            facts.append(f"ETA {figures.duration(shown.eta_s)}")
        self.say("  ".join(facts), now=now)

    def _script_figures(self, now: float) -> None:
        shown = self.store.snapshot()
        if shown.read is None or now < self._last + EVERY_S:
            return
        self._last = now
        _, facts = progress_of(shown.read, live=True)
        self.say("  ".join([*facts, text(script_line(shown, width=100, now=now))]), now=now)

    def _partial(self, line: PartialLine, now: float) -> None:
        if not line.text.strip() or now < self._partial_due.get(line.member, 0.0) or not self._may_speak(now):
            return
        self._partial_due[line.member] = now + PARTIAL_S
        several = sum(rank.host == line.host for rank in self.store.snapshot().ranks) > 1
        self.say(line.text.strip(), label=f"{line.host} #{line.member}" if several else line.host, now=now)

    def _may_speak(self, now: float) -> bool:
        """Whether a rank's line is printed: a rank that floods its output must not flood the narration."""
        if int(now) != self._second:
            if self._hushed:
                self.say(f"{self._hushed} more lines of the ranks are in the logs", now=now)
            self._second, self._spoken, self._hushed = int(now), 0, 0
        self._spoken += 1
        if self._spoken > LINES_PER_S:
            self._hushed += 1
            return False
        return True


class PlainRun:
    """One run followed in lines; `interrupt` is what Ctrl-C does."""

    def __init__(self, plan: Plan, printer: Printer, *, detach: bool = False, ask: Ask = nobody) -> None:
        self._plan = plan
        self._ask = ask
        self._printer = printer
        self._detach = detach
        self._session: SessionLike | None = None
        self._first = asyncio.Event()
        self._second = asyncio.Event()

    def interrupt(self) -> None:
        (self._second if self._first.is_set() else self._first).set()

    async def follow(self) -> Outcome:
        """Launch or attach, then until the end, the leaving, or Ctrl-C. Raises `MotleyError`."""
        running = asyncio.ensure_future(self._live())
        try:
            if await _before(running, self._first):
                return running.result()
            running.cancel()
            await asyncio.wait([running])
            return await self._stop() if not self._plan.readonly else self._leave()
        finally:
            running.cancel()
            if self._session is not None and not self._second.is_set():
                await self._session.close()

    async def _live(self) -> Outcome:
        opened = await self._plan.open(self._printer, self._ask)
        session = self._session = opened.session
        self._printer.store.learn(speeds=opened.speeds, epochs=opened.epochs)
        if self._plan.attach:
            await session.attach()
        else:
            await session.launch(resume=self._plan.resume)
        if self._detach:
            return left(session.run, self._plan.paste)
        watching = asyncio.ensure_future(self._watch(session.run))
        try:
            return ended(session.run, await session.wait(), self._plan.paste)
        finally:
            watching.cancel()

    async def _watch(self, run: str) -> None:
        """Say which hosts are new in cluster.toml, and how to bring them in."""
        while (file := self._plan.file) is not None:
            await asyncio.sleep(LOOK_S)
            found = file.look()
            if found is not None and found.problems:
                self._printer.note(problem(found), "warning")
            for name in self._printer.store.offer(found.hosts) if found is not None and not found.problems else ():
                self._printer.note(offer([name], f"{self._plan.paste('join', run, name)} brings {{}} in"))

    def _leave(self) -> Outcome:
        return Outcome(code=0) if self._session is None else left(self._session.run, self._plan.paste)

    async def _stop(self) -> Outcome:
        session = self._session
        if session is None:
            return Outcome(code=4, text="nothing was started")
        self._printer.say("stopping the run on every host; Ctrl-C again leaves at once")
        stopping = asyncio.ensure_future(session.stop("Ctrl-C"))
        if await _before(stopping, self._second):
            return ended(session.run, stopping.result(), self._plan.paste)
        stopping.cancel()
        again = self._plan.paste("stop", session.run)
        text = f"left before every host had answered: '{session.run}' may go on. {again} tries again"
        return Outcome(code=1, data={"run": session.run, "state": "stopping"}, text=text)


async def run_plain(plan: Plan, *, detach: bool = False, printer: Printer | None = None, ask: Ask = nobody) -> Outcome:
    """Follow the plan's run in lines on stderr, with Ctrl-C as described above."""
    run = PlainRun(plan, printer or Printer(paste=plan.paste), detach=detach, ask=ask)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, run.interrupt)
    try:
        return await run.follow()
    finally:
        loop.remove_signal_handler(signal.SIGINT)


async def _before(task: asyncio.Future[Any], event: asyncio.Event) -> bool:
    """Wait for the task or the event; true when the task is done."""
    waiting = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
    return task.done()


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
