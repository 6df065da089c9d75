"""Who takes part in a run, as the store knows it: ranks, hosts, connections, and the clock of each host.

roster = Roster()
roster.lay_out(layout)
roster.ranks[0].hear(sample)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from motley.console.state.event_data import number, one_line
from motley.console.state.rank_track import RankTrack
from motley.console.state.shown_step import ShownStep
from motley.console.state.snapshot import HostView, LogEntry, RankView, Regroup
from motley.console.state.step_table import LEAST_MS, Step
from motley.remote.diagnosis.host_clocks import Clocks
from motley.remote.experiment.records import grouped
from motley.remote.feed import Layout, Link, LogLine, PartialLine, Progress
from motley.trainer.contract.term import FIRST, Term
from motley.trainer.contract.wire import Event, Sample, Usage


class Participants:
    """Ranks by member number, hosts by name; `group` holds the members of the newest generation in rank order."""

    def __init__(self) -> None:
        self.ranks: dict[int, RankTrack] = {}
        self.hosts: dict[str, HostView] = {}
        self.group: tuple[int, ...] = ()
        self.generation = -1  # of the group, once one was formed
        self.speeds: dict[str, float] = {}
        self.clocks = Clocks()
        self._term, self._leader = FIRST, ""  # of the newest word on who leads; no name before it changes

    def lay_out(self, layout: Layout) -> None:
        for rank in layout.ranks:
            self.track(rank.member, rank.host, rank.device)
            self.hosts[rank.host] = self.host(rank.host)
        self.speeds.update(layout.speeds)
        for name, host in self.hosts.items():
            self.hosts[name] = replace(host, emulated=name in layout.emulated, speed=self.speeds.get(name))
        self._form(self.group or tuple(rank.member for rank in layout.ranks))  # who comes later is not in it yet

    def has(self, host: str) -> bool:
        """Whether ranks of the run are there."""
        return any(track.host == host for track in self.ranks.values())

    def regroup(self, event: Event) -> Regroup | None:
        """A `group` event: the members of the new generation. Returns who went and came; None for the first one."""
        members = [m for m in grouped(event) if number(m.get("member")) is not None]
        for m in members:
            self.track(int(m["member"]), one_line(m.get("host", event.host)), one_line(m.get("device", "")))
        generation = int(number(event.data.get("generation")) or 0)
        if generation < self.generation:  # word of an older group, from a host that was not heard until now
            return None
        self.generation = generation
        before = {self.ranks[m].host for m in self.group if m in self.ranks}
        if members:
            self._form(tuple(int(m["member"]) for m in members))
        for track in map(self.ranks.get, self.group):
            if track is not None and track.phase in ("lost", "dropped"):
                track.phase = "joining"  # until its first step: where it was before is over
        if not generation:
            return None
        now = {self.ranks[m].host for m in self.group}
        step = int(number(event.data.get("step")) or 0)
        return Regroup(step=step, lost=tuple(sorted(before - now)), joined=tuple(sorted(now - before)))

    def hear_leader(self, event: Event) -> None:
        """A `leader` event: from now on that host's coordinator speaks for the run."""
        try:
            term = Term.of(event.data.get("term"))
        except (TypeError, ValueError):
            return
        if term >= self._term:
            self._term, self._leader = term, one_line(event.data.get("leader", ""))

    def is_deposed(self, event: Event) -> bool:
        """Whether it is the word of a coordinator that leads no more: what it says of its group is not the run's.

        A leader that was cut off goes on alone for a while; another host leads by then, and groups are counted on both.
        """
        return event.source == "coordinator" and self._leader not in ("", event.host)

    def lose(self, event: Event) -> None:
        """A `lost` event: the member is out of the group."""
        member = number(event.data.get("member"))
        track = self.ranks.get(int(member)) if member is not None else None
        if track is not None:
            phase = "dropped" if event.data.get("cause") == "dropped" else "lost"
            track.active, track.phase = False, phase

    def track(self, member: int, host: str, device: str = "") -> RankTrack:
        """The rank's track, made when it is new."""
        track = self.ranks.get(member)
        if track is None:
            track = self.ranks[member] = RankTrack(member, host, device)
        elif device:
            track.host, track.device = host, device
        return track

    def hear(self, sample: Sample) -> None:
        (self.ranks.get(sample.member) or self.track(sample.member, sample.host)).hear(sample)

    def hear_usage(self, usage: Usage) -> None:
        """What a rank's script takes of its host."""
        track = self.ranks.get(usage.member)
        if track is not None and track.host == usage.host:
            track.usage = usage

    def hear_partial(self, line: PartialLine) -> None:
        """What a rank is writing at the moment."""
        track = self.ranks.get(line.member)
        if track is not None and track.host == line.host:
            track.partial_line = line.text

    def hear_line(self, line: LogLine, now: float) -> LogEntry:
        """What a rank was writing has its end: the line as the log has it."""
        self.hear_partial(PartialLine(host=line.host, member=line.member, text=""))
        at = now if line.time is None else self.at(line.host, line.time)
        label = self.label(line.host, line.member)
        return LogEntry(time=at, label=label, text=line.text, at_latest=line.at_latest)

    def finish(self, step: Step) -> None:
        """A step that ranks have made: it goes into what is drawn of each rank's recent past."""
        if step.ms <= LEAST_MS:
            return
        for member, sample in step.ranks.items():
            track = self.ranks.get(member)
            if track is not None:
                done = sample.batch if step.units is None else sample.units or 0
                track.trend.append(done * 1000.0 / step.ms)

    def are_in(self, members: Iterable[int], generation: int) -> bool:
        """Whether the members are all in the group; of a later one than is known here nobody has gone yet."""
        if generation > self.generation:
            return True
        return generation == self.generation and all(m in self.ranks and self.ranks[m].active for m in members)

    def on(self, host: str) -> set[int]:
        """The members of a host."""
        return {member for member, track in self.ranks.items() if track.host == host}

    def set_phase(self, event: Event, phase: str) -> None:
        """The phase of the event's member; `failed` stays until it starts anew."""
        member = number(event.data.get("member"))
        track = self.ranks.get(int(member)) if member is not None else None
        if track is not None and not (track.phase in ("failed", "dropped") and phase == "ended"):
            track.phase = phase

    def host(self, name: str) -> HostView:
        return self.hosts.get(name) or HostView(name=name, speed=self.speeds.get(name))

    def progress(self, record: Progress) -> bool:
        """Take a host's progress; true when its stage is another than before."""
        host = self.host(record.host)
        fraction = 1.0 if record.done else record.fraction
        self.hosts[record.host] = replace(
            host, stage=record.stage, text=record.text, fraction=fraction, failed=record.failed
        )
        return record.stage != host.stage

    def link(self, link: Link) -> bool:
        """Take the state of a connection; true when it went up or down."""
        host = self.host(link.host)
        self.clocks.hear(link)
        failed = host.failed and not (link.up and host.stage == "connect")  # it could not be reached, and now it is
        self.hosts[link.host] = replace(host, link_up=link.up, link_text=link.text, failed=failed)
        return link.up != host.link_up

    def at(self, host: str, time: float) -> float:
        """A time of the host's clock on the master's."""
        return self.clocks.at(host, time)

    def label(self, host: str, member: int) -> str:
        """A rank's name for people: its host, with its number where the host has several."""
        several = sum(track.host == host for track in self.ranks.values()) > 1
        return f"{host} #{member}" if several else host

    def names(self) -> tuple[str, ...]:
        """The labels of the group's ranks, in rank order."""
        return tuple(self.label(self.ranks[m].host, m) for m in self.group or sorted(self.ranks) if m in self.ranks)

    def views(self, shown: ShownStep | None, silent: Callable[[int], bool]) -> tuple[RankView, ...]:
        """Every rank, with its part of the shown step; `silent`: whose lines do not come."""
        made = shown.ranks if shown is not None else {}
        return tuple(
            track.view(
                shown,
                offset_s=self.clocks.offset_s(track.host),
                grouped=track.active or member in made,
                silent=silent(member),
            )
            for member, track in sorted(self.ranks.items())
        )

    def _form(self, group: tuple[int, ...]) -> None:
        self.group = group
        for member, track in self.ranks.items():
            track.active = member in group
