"""Which of a script's progress bars is that of its training, and the steps that it stands for.

    >>> bars = BarSteps()
    >>> for n in (0, 50, 100): bars.hear(Bar(name="Epoch #", at=n, total=100, ...))
    >>> bars.hear(Bar(name="Epoch #", at=1, total=100, ...)).step     # its second round: an epoch is a round
    101

A script may draw several: of epochs and of batches, of an evaluation in between. The one that has told a loss is the
training's, else the one that was drawn most often; another one takes its place only with a loss, or when it is through.
A bar that goes back without having begun anew counts down, and has no steps.
"""

from __future__ import annotations

from dataclasses import dataclass

from motley.trainer.readings.progress_bar import Bar
from motley.trainer.readings.said import Said

MOST_BARS = 32  # that are told apart; a script whose bars all have names of their own has no bar of training


@dataclass(slots=True)
class _Track:
    at: int
    before: int = 0  # steps of the rounds that are through
    rounds: int = 1
    rises: int = 0
    tells_loss: bool = False
    total: int | None = None

    @property
    def is_through(self) -> bool:
        return self.total is not None and self.at >= self.total


class BarSteps:
    """All bars of one output."""

    def __init__(self) -> None:
        self._tracks: dict[tuple[str, int | None], _Track] = {}
        self.choices = 0  # how often another bar has become that of the training
        self._chosen: _Track | None = None
        self._last: _Track | None = None

    def hear(self, bar: Bar) -> Said | None:
        """What the state of a bar says of the training: None when it is another bar's, or counts down."""
        key = (bar.name, bar.total)
        track = self._tracks.get(key)
        if track is None:
            if len(self._tracks) >= MOST_BARS:
                return None
            track = self._tracks[key] = _Track(bar.at, total=bar.total)
        elif not _moves(track, bar):
            self._last = track
            return self._said(track, bar) if bar.at == track.at else None
        self._last = track
        track.tells_loss = track.tells_loss or bar.loss is not None
        return self._said(track, bar)

    def told_loss(self) -> None:
        """A line told a loss without a step, beside the bar that was drawn last: it is that one's."""
        if self._last is not None:
            self._last.tells_loss = True
            self._choose(self._last)

    @property
    def step(self) -> int | None:
        """Of the bar of the training, as it was drawn last."""
        return self._chosen.before + self._chosen.at if self._chosen is not None else None

    @property
    def total(self) -> int | None:
        """Steps in all, where the bar has no rounds."""
        return self._chosen.total if self._chosen is not None and self._chosen.rounds == 1 else None

    def _said(self, track: _Track, bar: Bar) -> Said | None:
        self._choose(track)
        if track is not self._chosen:
            return None
        total = bar.total if track.rounds == 1 and "#" not in bar.name else None
        return Said(step=track.before + track.at, total=total, epoch=bar.epoch, loss=bar.loss, doubt=bar.doubt)

    def _choose(self, track: _Track) -> None:
        now = self._chosen
        if now is not track and (now is None or _takes_over(track, now)):
            self._chosen = track
            self.choices += 1


def _takes_over(track: _Track, now: _Track) -> bool:
    if track.tells_loss != now.tells_loss:
        return track.tells_loss
    return not now.tells_loss and (now.is_through or track.rises > now.rises + 1)


def _moves(track: _Track, bar: Bar) -> bool:
    """Take a later state of the bar; whether it is further."""
    if bar.at > track.at:
        track.at = bar.at
        track.rises += 1
        return True
    if bar.at < track.at and (bar.begins or track.is_through):
        track.before += track.total if track.total is not None else track.at
        track.at = bar.at
        track.rounds += 1
    return False
