"""The figures of a training as its output tells them, one stream of output.

    >>> reader = ScriptReader()
    >>> reader.feed(b"step 10: loss 2.5\\nstep 20: loss 2.4\\n", now=3.0)
    >>> reader.take(now=3.0)
    Figures(time=3.0, step=20, total=None, epoch=None, loss=2.4, steps_per_s=None, unit='step')
    >>> reader.take(now=4.0) is None       # nothing new
    True

A step comes from the line that tells the loss, or else from the bar that stands beside it (transformers' lines have
none): it is drawn again right after the line, with the step that the loss is of. A figure is believed when its step
rises. A script that tells of its epochs alone is counted in these. What is not believed is said once for each reason
(`doubts`).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from motley.trainer.readings import logged_line, progress_bar
from motley.trainer.readings.bar_steps import BarSteps
from motley.trainer.readings.pieces import LONGEST, Pieces
from motley.trainer.readings.said import MOST_STEPS, Said

SOON_S = 1.0  # within which a bar is drawn again after a line was written above it
RATE_S = 20.0  # that the rate of steps is measured over
MOST_DOUBTS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The newest ones. `time`: when they were printed, in seconds on the caller's clock; `loss`: the last one told."""

    time: float
    step: int
    total: int | None
    epoch: float | None
    loss: float | None
    steps_per_s: float | None
    unit: str = "step"  # what is counted: steps, or epochs


class ScriptReader:
    """Takes output as it comes; `take` gives what has changed."""

    def __init__(self) -> None:
        self.doubts: list[str] = []  # why a figure was not believed, each once
        self._pieces = Pieces()
        self._bars = BarSteps()
        self._unfinished = ""
        self._waiting: tuple[float, Said] | None = None  # a loss whose step the bar is to tell, and when it came
        self._reports = False  # the script reports by itself: nothing else counts
        self._by_epochs = False  # its lines tell epochs, and nothing tells steps
        self._by_lines = False  # lines tell steps and losses: what bars count is beside the point
        self._choices = 0
        self._step = -1
        self._total: int | None = None
        self._epoch: float | None = None
        self._loss: float | None = None
        self._time = 0.0
        self._marks: deque[tuple[float, int]] = deque(maxlen=256)
        self._news = False

    def feed(self, data: bytes, *, now: float) -> None:
        """`now`: when it was printed, about."""
        if self._reports:
            return
        for piece in self._pieces.feed(data):
            self._unfinished = ""
            self._read(piece, now)
        unfinished = self._pieces.unfinished
        if unfinished != self._unfinished:
            self._unfinished = unfinished
            bar = progress_bar.read(unfinished)  # whole: it ends with its bracket
            if bar is not None:
                self._take_bar(bar, now)

    def feed_lines(self, data: bytes, *, now: float) -> None:
        """Whole lines of a file, beside the output."""
        for line in data.decode(errors="replace").splitlines():
            said = logged_line.said(line[:LONGEST])
            if said is not None:
                self.hear(said, now=now)

    def hear_report(self, said: Said, *, now: float) -> None:
        """What `motley.report` was told: from now on nothing else is read."""
        self._reports, self._waiting = True, None
        self._count_steps()
        self._doubt(said)
        self._believe(said, now)

    def hear(self, said: Said, *, now: float) -> None:
        """A figure that comes with its step."""
        if self._reports:
            return
        self._doubt(said)
        if said.step is not None:
            self._count_steps()
            self._by_lines = self._by_lines or said.loss is not None
            self._believe(said, now)

    def take(self, *, now: float) -> Figures | None:
        """The figures, when there are new ones since the last call."""
        if self._waiting is not None and now - self._waiting[0] >= SOON_S:
            (at, said), self._waiting = self._waiting, None
            step = self._bars.step
            if step is not None:
                self._believe(Said(step=step, total=self._bars.total, epoch=said.epoch, loss=said.loss), at)
            elif said.epoch is not None and self._step < 0:
                self._by_epochs = True
                self._believe_epoch(said, now)
        if not self._news:
            return None
        self._news = False
        return Figures(
            time=self._time, step=self._step, total=self._total, epoch=self._epoch, loss=self._loss,
            steps_per_s=self._rate(), unit="epoch" if self._by_epochs else "step",
        )  # fmt: skip

    def _read(self, piece: str, now: float) -> None:
        drawn, line = progress_bar.apart(piece)
        bar = progress_bar.read(drawn) if drawn else None
        if bar is not None:
            self._take_bar(bar, now)
        said = logged_line.said(line)
        if said is None:
            return
        if said.step is not None or said.loss is None:
            self.hear(said, now=now)
        else:
            self._bars.told_loss()
            if self._by_epochs and said.epoch is not None:
                self._believe_epoch(said, now)
                return
            since = self._waiting[0] if self._waiting is not None and self._bars.step is None else now
            self._waiting = (since, said)

    def _take_bar(self, bar: progress_bar.Bar, now: float) -> None:
        said = None if self._by_lines else self._bars.hear(bar)
        if said is None:
            return
        self._count_steps()
        if self._bars.choices != self._choices:  # what another bar counted is over
            self._choices, self._step = self._bars.choices, -1
            self._marks.clear()
        self._doubt(said)
        if self._waiting is not None and said.loss is None:
            before, self._waiting = self._waiting[1], None
            said = Said(step=said.step, total=said.total, epoch=before.epoch or said.epoch, loss=before.loss)
        self._believe(said, now)

    def _believe_epoch(self, said: Said, now: float) -> None:
        self._believe(Said(step=int(said.epoch or 0), total=said.epochs, loss=said.loss), now)

    def _count_steps(self) -> None:
        """A step is told: what epochs were counted before is over."""
        if self._by_epochs:
            self._by_epochs, self._step = False, -1
            self._marks.clear()

    def _believe(self, said: Said, now: float) -> None:
        """Take it when its step has risen, or when it tells the loss of the newest one."""
        if said.step is None or said.step > MOST_STEPS or said.step < self._step:
            return
        if said.step == self._step and (said.loss is None or said.loss == self._loss):
            return
        if said.step > self._step:
            self._marks.append((now, said.step))
        self._step, self._time, self._news = said.step, now, True
        self._total = said.total if said.total is None or said.total >= said.step else None
        self._epoch = said.epoch if said.epoch is not None else self._epoch
        self._loss = said.loss if said.loss is not None else self._loss

    def _doubt(self, said: Said) -> None:
        if said.doubt:
            self._loss = None
            if said.doubt not in self.doubts and len(self.doubts) < MOST_DOUBTS:
                self.doubts.append(said.doubt)

    def _rate(self) -> float | None:
        """Steps a second over the newest `RATE_S`, or over the newest two that were told."""
        if len(self._marks) < 2:
            return None
        end, last = self._marks[-1]
        first = self._marks[-2]
        for mark in reversed(self._marks):
            if end - mark[0] > RATE_S:
                break
            first = mark
        seconds = end - min(first, self._marks[-2])[0]
        steps = last - min(first, self._marks[-2])[1]
        return steps / seconds if seconds > 0 else None
