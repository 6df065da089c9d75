"""Who takes part in a run, as the store knows it: ranks, hosts, connections, and the clock of each host.

roster = Roster()
roster.lay_out(layout)
roster.ranks[0].add(sample)
"""

from __future__ import annotations

from dataclasses import replace

from console.events import number, one_line
from console.snapshot import HostView, RankView, Regroup
from console.tracks import RankTrack
from remote.clocks import Clocks
from remote.feed import Layout, Link, Progress
from remote.records import grouped
from trainer.wire import Event, Sample


class Roster:
    """Ranks by member number, hosts by name; `group` holds the members of the newest generation in rank order."""

    def __init__(self) -> None:
        self.ranks: dict[int, RankTrack] = {}
        self.hosts: dict[str, HostView] = {}
        self.group: tuple[int, ...] = ()
        self.speeds: dict[str, float] = {}
        self.clocks = Clocks()

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
        before = {self.ranks[m].host for m in self.group if m in self.ranks}
        if members:
            self._form(tuple(int(m["member"]) for m in members))
        if not number(event.data.get("generation")):
            return None
        now = {self.ranks[m].host for m in self.group}
        step = int(number(event.data.get("step")) or 0)
        return Regroup(step=step, lost=tuple(sorted(before - now)), joined=tuple(sorted(now - before)))

    def lose(self, event: Event) -> None:
        """A `lost` event: the member is out of the group, its figures stay as they were."""
        member = number(event.data.get("member"))
        track = self.ranks.get(int(member)) if member is not None else None
        if track is not None:
            phase = "dropped" if event.data.get("cause") == "dropped" else "lost"
            track.active, track.phase, track.stale = False, phase, True

    def track(self, member: int, host: str, device: str = "") -> RankTrack:
        """The rank's track, made when it is new."""
        track = self.ranks.get(member)
        if track is None:
            track = self.ranks[member] = RankTrack(member, host, device)
        elif device:
            track.host, track.device, track.stale = host, device, True
        return track

    def add(self, sample: Sample) -> None:
        (self.ranks.get(sample.member) or self.track(sample.member, sample.host)).add(sample)

    def set_phase(self, event: Event, phase: str) -> None:
        """The phase of the event's member; `failed` stays until it starts anew."""
        member = number(event.data.get("member"))
        track = self.ranks.get(int(member)) if member is not None else None
        if track is not None and not (track.phase == "failed" and phase == "ended"):
            track.phase, track.stale = phase, True

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
        for track in self.ranks.values():
            track.stale = track.stale or track.host == link.host
        self.hosts[link.host] = replace(host, link_up=link.up, link_text=link.text)
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

    def views(self, global_batch: int | None) -> tuple[RankView, ...]:
        tracks = sorted(self.ranks.values(), key=lambda track: track.member)
        step = [t.last.batch for t in tracks if t.last is not None]
        whole = sum(step) if len(step) == len(tracks) and any(step) else global_batch  # an epoch's last step is smaller
        return tuple(t.shown(offset_s=self.clocks.offset_s(t.host), global_batch=whole) for t in tracks)

    def _form(self, group: tuple[int, ...]) -> None:
        self.group = group
        for member, track in self.ranks.items():
            track.active = member in group
            track.stale = True
