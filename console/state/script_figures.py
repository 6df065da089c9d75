"""What a script that tells us nothing says of its training, as its hosts read it from its output.

    >>> figures = ScriptFigures()
    >>> figures.add(reading, at=now)
    >>> figures.shown().loss
    2.31

Mostly rank 0 alone prints. Where several do, those of the first rank that tells a loss are shown, else of the first.
"""

from __future__ import annotations

from motley.console.state.curve import Curve
from motley.console.state.snapshot import ReadFigures
from motley.trainer.contract.wire import Reading


class ScriptFigures:
    def __init__(self) -> None:
        self.rates = Curve()  # steps a second
        self.losses = Curve()
        self._newest: dict[int, ReadFigures] = {}  # by member
        self._shown: int | None = None  # whose they are

    def add(self, reading: Reading, at: float) -> None:
        """`at`: when it was printed, on the master's clock."""
        before = self._newest.get(reading.member)
        now = self._newest[reading.member] = ReadFigures(
            member=reading.member, host=reading.host, step=reading.step, steps_total=reading.steps_total,
            epoch=reading.epoch, loss=reading.loss, steps_per_s=reading.steps_per_s, at=at,
            unit="epoch" if reading.unit == "epoch" else "step",
        )  # fmt: skip
        leads = min(self._newest, key=lambda member: (self._newest[member].loss is None, member))
        if leads != self._shown:
            self._shown, self.rates, self.losses = leads, Curve(), Curve()
        elif leads != reading.member:
            return
        elif before is not None and reading.step < before.step:  # it was started anew
            self.rates.cut(reading.step - 1)
            self.losses.cut(reading.step - 1)
        if now.steps_per_s is not None:
            self.rates.add(now.step, total=now.steps_per_s, weight=1.0)
        if now.loss is not None:
            self.losses.add(now.step, total=now.loss, weight=1.0)

    def shown(self) -> ReadFigures | None:
        return self._newest[self._shown] if self._shown is not None else None
