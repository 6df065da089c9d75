"""The table of ranks: a snapshot becomes one line a rank, as wide as the terminal allows. Pure functions.

    header, *rows = table(snapshot, width=80, now=time.time())

The columns that matter least go first when there is no room; the sparkline takes what is left over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from rich.cells import cell_len

from motley.console.state.snapshot import HostView, RankView, Snapshot
from motley.console.view import figures
from motley.console.view import rank_parts as parts
from motley.console.view.styled_line import Line, Role, Span, clip, fit, width_of

STALE_S = 5.0
SPINNER = "◐◓◑◒"
TREND = (6, 48)  # narrowest and widest sparkline

Cell = tuple[str, Role]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What a row is made from."""

    rank: RankView
    host: HostView
    several: bool  # the host has more than one rank
    ended: bool
    now: float
    script: str = ""  # what a script of the user's own does: starting, running, or how it ended
    percent: str = ""  # its share, rounded so that those of all ranks add up to 100
    rate: str = ""  # its throughput, rounded so that those of all ranks add up to the header's figure
    in_samples: str = ""  # the same in samples, where throughput is told in what else the task counts

    @property
    def age_s(self) -> float | None:
        return None if self.rank.seen is None else max(0.0, self.now - self.rank.seen)

    @property
    def stale(self) -> bool:
        """It takes part in the steps, and was not heard for longer than two of them and five seconds."""
        if self.ended or self.rank.step is None or self.age_s is None:
            return False
        return self.age_s > max(STALE_S, 2 * (self.rank.step_ms or 0) / 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    title: str
    cell: Callable[[Row], Cell]
    narrowest: int = 0
    widest: int = 99
    right: bool = True
    rank: int  # 0 stays longest
    needs: Callable[[Snapshot], bool] = lambda _: True


def device_label(row: Row, *, short: bool = False) -> str:
    """`cpu`, `cuda:0`, and for a host whose slowness is put on: `emulated` and its speed."""
    if not row.host.emulated:
        return row.rank.device
    label = f"emulated {figures.speed(row.host.speed)}".rstrip()
    return label if short or not row.rank.device else f"{row.rank.device}, {label}"


def glyph(row: Row) -> Cell:
    """The rank's state in one cell; its shape says it as well as its colour."""
    if row.rank.phase == "failed" or row.host.failed:
        return "✖", "bad"
    if not row.rank.active:
        return "○", "muted"
    if row.ended:
        return "■", "muted"
    if not row.host.link_up:
        return "⇣", "warn"
    if row.rank.step is None and row.script != "running":
        return SPINNER[int(row.now * 4) % len(SPINNER)], "accent"
    return ("!", "warn") if row.stale else ("●", "good")


def host_label(row: Row) -> str:
    return f"{row.rank.host} #{row.rank.member}" if row.several else row.rank.host


def _share(row: Row) -> Cell:
    if row.rank.batch is None:
        return figures.NONE, "muted"
    return f"{row.rank.batch:,} {row.percent:>4}", "text"


def _rate(row: Row) -> Cell:
    return row.rate or figures.NONE, "strong"


def _wait(row: Row) -> Cell:
    wait = row.rank.wait
    return figures.percent(wait, 0).replace(" ", ""), "warn" if wait is not None and wait > 0.3 else "text"


def _age(row: Row) -> Cell:
    return figures.age(row.age_s), "warn" if row.stale else "muted"


def _gpu(row: Row) -> Cell:
    util = row.rank.gpu_util
    return (figures.NONE, "muted") if util is None else (f"{util:.0f}%", "text")


COLUMNS = (
    Column(title="host", cell=lambda r: (host_label(r), "strong"), narrowest=6, widest=20, right=False, rank=0),
    Column(title="device", cell=lambda r: (device_label(r), "muted"), narrowest=6, widest=24, right=False, rank=5),
    Column(title="share", cell=_share, narrowest=8, rank=2),
    Column(title="", cell=lambda r: (figures.block_bar(r.rank.share or 0, 10), "accent"), narrowest=10, rank=9),
    Column(title="samples/s", cell=_rate, rank=1),
    Column(title="step ms", cell=lambda r: (figures.milliseconds(r.rank.step_ms), "text"), rank=7),
    Column(title="compute", cell=lambda r: (figures.milliseconds(r.rank.compute_ms), "text"), rank=8),
    Column(title="wait", cell=_wait, narrowest=4, rank=3),
    Column(title="memory", cell=lambda r: (figures.memory(r.rank.mem_mib), "text"), narrowest=7, rank=6),
    Column(
        title="GPU",
        cell=_gpu,
        narrowest=4,
        rank=6,
        needs=lambda snapshot: any(r.gpu_util is not None for r in snapshot.ranks),
    ),
    Column(title="age", cell=_age, narrowest=4, rank=4),
)


def columns_of(snapshot: Snapshot) -> tuple[Column, ...]:
    """Throughput in what the task counts, in the place of samples; these have a column where there is room."""
    if not snapshot.unit:
        return COLUMNS
    n = next(n for n, column in enumerate(COLUMNS) if column.cell is _rate)
    samples = Column(title="samples/s", cell=lambda r: (r.in_samples or figures.NONE, "text"), rank=8)
    return (*COLUMNS[:n], replace(COLUMNS[n], title=f"{snapshot.counted}/s"), samples, *COLUMNS[n + 1 :])


def rows_of(snapshot: Snapshot, now: float) -> list[Row]:
    hosts = {host.name: host for host in snapshot.hosts}
    counts: dict[str, int] = {}
    for rank in snapshot.ranks:
        counts[rank.host] = counts.get(rank.host, 0) + 1
    ended = snapshot.phase == "ended"
    now = snapshot.ended if ended and snapshot.ended is not None else now
    percents, in_samples = parts.percents(snapshot), parts.samples(snapshot)
    rates = parts.units(snapshot) if snapshot.unit else in_samples
    rows = [
        Row(
            rank=rank,
            host=hosts.get(rank.host) or HostView(name=rank.host),
            several=counts[rank.host] > 1,
            ended=ended,
            now=now,
            script=_script(snapshot, rank),
            percent=percents.get(rank.member, ""),
            rate=rates.get(rank.member, ""),
            in_samples=in_samples.get(rank.member, ""),
        )
        for rank in snapshot.ranks
    ]
    # A host is shown as soon as anything is heard of it, before its ranks are known.
    for host in snapshot.hosts:
        if host.name not in counts:
            rank = RankView(member=-1, host=host.name, device="")
            rows.append(Row(rank=rank, host=host, several=False, ended=ended, now=now))
    return rows


def _script(snapshot: Snapshot, rank: RankView) -> str:
    """It tells nothing of itself: its process is there, or not yet, or no more."""
    if not snapshot.script:
        return ""
    if snapshot.phase == "ended":
        return snapshot.state
    if snapshot.phase == "stopping":
        return "stopping"
    return {"training": "running", "ended": "finished"}.get(rank.phase, "starting")


def table(snapshot: Snapshot, *, width: int, now: float) -> list[Line]:
    """The header and a line for each rank (or host, as long as its ranks are not known)."""
    rows = rows_of(snapshot, now)
    if not rows:
        return []
    short = width < 100
    columns = columns_of(snapshot)
    cells = [[_shortened(c, row, short) for row in rows] for c in columns]
    widths = [
        min(c.widest, max(c.narrowest, cell_len(c.title), *(cell_len(text) for text, _ in column)))
        for c, column in zip(columns, cells, strict=True)
    ]
    gap = 2 if width < 140 else 3
    shown = _choose(snapshot, columns, widths, width, gap)
    used = 2 + sum(widths[i] + gap for i in shown)
    trend = min(TREND[1], width - used)
    titles = (fit(columns[i].title, widths[i], right=columns[i].right) + " " * gap for i in shown)
    header: list[Span] = [("  ", "muted"), *((title, "muted") for title in titles)]
    if trend >= TREND[0]:
        header.append((fit(f"{snapshot.counted}/s, recent" if trend > 18 else "recent", trend), "muted"))
    lines: list[Line] = [tuple(header)]
    names = [i for i in shown if columns[i].title in ("host", "device")]
    for n, row in enumerate(rows):
        mark, role = glyph(row)
        spans: list[Span] = [(f"{mark} ", role)]
        used = 2 + sum(widths[i] + gap for i in names)
        telling = _instead(row, width - used)
        for i in names if telling is not None else shown:
            value, cell_role = cells[i][n]
            cell_role = "muted" if not row.rank.active else cell_role
            spans.append((fit(value, widths[i], right=columns[i].right) + " " * gap, cell_role))
        if telling is not None:
            spans.extend(telling)
        elif trend >= TREND[0] and not row.rank.active:
            spans.append((_away(row), "warn"))
        elif trend >= TREND[0]:
            spans.append((figures.sparkline(row.rank.trend, trend), "accent"))
        lines.append(clip(tuple(spans), width))
    return lines


def _usage(row: Row) -> Line:
    """What the processes of a script take: CPU in percent of the host's cores, memory, GPU."""
    rank = row.rank
    if rank.cpu is None or row.script != "running":
        return ()
    gpu = f"  GPU {rank.gpu_util:3.0f}%" if rank.gpu_util is not None else ""
    return ((f"CPU {rank.cpu:3.0f}%{gpu} {figures.memory(rank.mem_mib):>8}   ", "text"),)


def _away(row: Row) -> str:
    """Where a rank is that is not in the group: lost, taken out, or on its way (back)."""
    rank = row.rank
    if rank.phase == "dropped":
        return "taken out"
    if rank.seen is None and rank.phase != "lost":
        return f"joining: {rank.phase}" if rank.phase else "joining"
    if rank.phase not in ("", "lost", "training", "ended"):
        return f"coming back: {rank.phase}"
    return "lost" if row.age_s is None else f"lost, heard {figures.age(row.age_s)} ago"


def _shortened(column: Column, row: Row, short: bool) -> Cell:
    if column.title == "device" and short:
        return device_label(row, short=True), "muted"
    return column.cell(row)


def _choose(snapshot: Snapshot, columns: Sequence[Column], widths: list[int], width: int, gap: int) -> list[int]:
    """The columns to show, in order: the most important ones that fit, with room kept for a small sparkline."""
    left = width - 2
    shown: list[int] = []
    for i in sorted(range(len(columns)), key=lambda i: columns[i].rank):
        column = columns[i]
        room = left - (TREND[0] if column.rank > 5 else 0)
        if column.needs(snapshot) and widths[i] + gap <= room:
            shown.append(i)
            left -= widths[i] + gap
    return sorted(shown)


def _instead(row: Row, width: int) -> Line | None:
    """What a row says as long as it has no figures, or no connection to bring them."""
    host = row.host
    if row.rank.phase == "failed":
        return (("failed", "bad"),)
    if not host.link_up and not row.ended:
        heard = "" if row.age_s is None else f", heard {figures.age(row.age_s)} ago"
        return ((f"link down{heard}  ", "warn"), (host.link_text, "muted"))
    if not row.rank.active and row.rank.member >= 0:
        return ((_away(row), "warn"),)
    if row.rank.silent and not row.ended:
        return (("its lines come late", "warn"),)
    if row.rank.step is not None:
        return None
    if host.failed:
        return ((f"{host.stage or 'start'}: ", "bad"), (host.text, "bad"))
    if row.script and row.rank.phase:
        if row.script == "running" and row.rank.partial_line:
            return (*_usage(row), (row.rank.partial_line.strip(), "text"))
        return (*_usage(row), (row.script, "muted" if row.ended else "accent"))
    phase = row.rank.phase
    if phase == "training" and row.ended:
        return (("", "muted"),)
    if phase and phase != "ended":
        return ((phase, "accent"),)
    if not host.stage:
        return (("" if row.ended else "waiting to connect", "muted"),)
    spans: list[Span] = [(fit(host.stage, 9), "accent"), (host.text, "muted")]
    room = width - width_of(tuple(spans)) - 7
    if host.fraction is not None and host.fraction < 1 and room >= 4:
        done, left = figures.progress(host.fraction, min(30, room))
        spans += [("  ", "text"), (done, "accent"), (left, "muted"), (f" {host.fraction * 100:3.0f}%", "text")]
    return tuple(spans)
