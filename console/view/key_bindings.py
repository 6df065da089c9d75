"""The keys of the console, once: this table feeds dispatch, the footer, the help screen and docs/keys.md.

`enabled(key, snapshot)` is None when a key works, else the reason that the footer shows when it is pressed.
`python -m motley.console.view.key_bindings` prints the table of docs/keys.md.

    >>> reason(BY_ACTION["stop"], Snapshot())
    'nothing runs'
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from motley.console.state.snapshot import Snapshot
from motley.console.view.styled_line import Line, Role, width_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    key: str  # Textual's name
    action: str
    label: str  # in the footer
    help: str
    shown: str = ""  # how the key is written, where its name differs
    enabled: Callable[[Snapshot], str | None] = lambda _: None
    footer: int = 9  # 0 stays longest in a narrow footer; 9: not there
    acts: bool = False  # changes the run: not there in a console that only watches
    wanted: Callable[[Snapshot], bool] = lambda _: True  # else the footer does without it
    replay: bool | None = None  # True: only in a replay; False: only of a run that is on; None: always there

    @property
    def name(self) -> str:
        return self.shown or self.key


def _start(snapshot: Snapshot) -> str | None:
    return "the run is on already" if snapshot.live else None


def _stop(snapshot: Snapshot) -> str | None:
    if snapshot.phase == "stopping":
        return "it is being stopped already"
    return None if snapshot.live else "nothing runs"


def _restart(snapshot: Snapshot) -> str | None:
    if snapshot.behind:
        return "what the run has done so far is still being read"
    if snapshot.phase == "idle":
        return "nothing to restart yet: s starts"
    return "it is being stopped: then s starts a new one" if snapshot.phase == "stopping" else None


def _checkpoint(snapshot: Snapshot) -> str | None:
    if snapshot.script:
        return "the script writes checkpoints of its own"
    return None if snapshot.phase == "running" else "no run trains"


def _join(snapshot: Snapshot) -> str | None:
    if snapshot.phase != "running":
        return "no run trains"
    return None if snapshot.offered else "cluster.toml has no host that is new"


def _answers(snapshot: Snapshot) -> str | None:
    return None if snapshot.answers else "none yet: they come with an evaluation, where the task has its model answer"


KEYS = (
    Key(
        key="s",
        action="start",
        acts=True,
        label="start",
        help="Start a run of this cluster.toml, read anew.",
        enabled=_start,
        footer=3,
    ),
    Key(
        key="x",
        action="stop",
        acts=True,
        label="stop",
        help="Stop the run on every host: a checkpoint first, then no process is left. Asks before.",
        enabled=_stop,
        footer=1,
    ),
    Key(
        key="r",
        action="restart",
        acts=True,
        label="restart",
        help="Stop the run and start a new one that goes on from its last step. Asks before.",
        enabled=_restart,
        footer=4,
    ),
    Key(
        key="c",
        action="checkpoint",
        acts=True,
        label="checkpoint",
        help="Write a checkpoint at the end of the step, and say where it is.",
        enabled=_checkpoint,
        footer=8,
    ),
    Key(
        key="j",
        action="join",
        acts=True,
        label="bring in",
        help="Bring a host that is new in cluster.toml into the run. Asks before.",
        enabled=_join,
        footer=8,
    ),
    Key(
        key="q",
        action="leave",
        label="leave",
        help="Leave the console; `ctrl+q` does too. The run goes on; `motley attach` comes back to it.",
        footer=0,
    ),
    Key(
        key="space",
        action="freeze",
        replay=False,
        label="freeze",
        help="Hold the screen still to read it. The run and the records go on.",
        footer=5,
    ),
    Key(key="space", action="pause", replay=True, label="pause", help="Hold the replay, and go on.", footer=1),
    Key(
        key="full_stop",
        action="step",
        replay=True,
        label="step",
        shown=".",
        help="One step on, and hold.",
        footer=3,
    ),
    Key(
        key="comma",
        action="step_back",
        replay=True,
        label="back",
        shown=",",
        help="One step back, and hold.",
        footer=3,
    ),
    Key(
        key="right_square_bracket",
        action="forward",
        replay=True,
        label="+5 %",
        shown="]",
        help="On by a twentieth of the run.",
        footer=4,
    ),
    Key(
        key="left_square_bracket",
        action="rewind",
        replay=True,
        label="-5 %",
        shown="[",
        help="Back by a twentieth of the run.",
        footer=4,
    ),
    Key(
        key="plus,equals_sign",
        action="faster",
        replay=True,
        label="\u00d72",
        shown="+",
        help="Twice as fast, up to 4096 times.",
        footer=4,
    ),
    Key(
        key="minus",
        action="slower",
        replay=True,
        label="\u00f72",
        shown="-",
        help="Half as fast, down to a sixteenth.",
        footer=5,
    ),
    Key(
        key="0,1,2,3,4,5,6,7,8,9",
        action="jump",
        replay=True,
        label="tenths",
        shown="0-9",
        help="To so many tenths of the run; `0` is its beginning.",
        footer=6,
    ),
    Key(
        key="d",
        action="decisions",
        label="decisions",
        help="Show the decisions: what moved, why, what came of it.",
        footer=6,
    ),
    Key(key="l", action="log", label="log", help="Show the log: what the ranks print and what happened.", footer=6),
    Key(
        key="a",
        action="answers",
        label="answers",
        help="Show what the model answers after each evaluation, the newest first; PgDn turns to older ones.",
        enabled=_answers,
        wanted=lambda snapshot: bool(snapshot.answers),
        footer=6,
    ),
    Key(key="z", action="zoom", label="zoom", help="Give the focused panel the whole screen, and back.", footer=7),
    Key(key="tab", action="focus", label="next panel", help="Move the focus to the next panel."),
    Key(
        key="up,down,pageup,pagedown,home,end",
        action="scroll",
        label="scroll",
        shown="↑ ↓ PgUp PgDn Home End",
        help="Scroll the focused panel; End follows the log again. ← → for long lines.",
    ),
    Key(key="t", action="theme", label="theme", help="Change between dark and light."),
    Key(
        key="escape",
        action="back",
        label="back",
        shown="esc",
        help="One layer out: close a question, the help, a zoom.",
    ),
    Key(key="question_mark", action="help", label="help", shown="?", help="Show this help.", footer=2),
    Key(
        key="ctrl+c",
        action="hint",
        label="hint",
        shown="ctrl+c",
        help="Stops nothing, quits nothing: reminds of the keys that do. To copy, select text with the mouse first.",
    ),
)
BY_ACTION = {key.action: key for key in KEYS}


def shown(*, readonly: bool, replay: bool = False) -> tuple[Key, ...]:
    """The keys that a console has."""
    there = (key for key in KEYS if key.replay is None or key.replay is replay)
    return tuple(key for key in there if not ((readonly or replay) and key.acts))


def pressed(action: str, snapshot: Snapshot) -> Key:
    """The key of an action; where that key does something else in a replay, or only there, what it does now."""
    key, replay = BY_ACTION[action], snapshot.playback is not None
    return next((k for k in KEYS if k.key == key.key and k.replay is replay), key)


def reason(key: Key, snapshot: Snapshot) -> str | None:
    """Why the key does nothing now; None when it works."""
    if snapshot.playback is not None and key.acts:
        return "this is a replay: no host is asked, nothing is changed"
    if snapshot.playback is None and key.replay:
        return "this is no replay: motley replay shows a run again"
    if snapshot.readonly and key.acts:
        return "this console only watches (--readonly)"
    return key.enabled(snapshot)


def footer_line(snapshot: Snapshot, *, width: int, hint: str = "") -> Line:
    """The keys that fit, those without effect dimmed; or a hint in their place for a while."""
    if hint:
        return ((f" {hint}", "warn"),)
    there = shown(readonly=snapshot.readonly, replay=snapshot.playback is not None)
    keys = sorted((key for key in there if key.footer < 9 and key.wanted(snapshot)), key=lambda key: key.footer)
    while keys:
        line: list[tuple[str, Role]] = [(" ", "text")]
        for key in [key for key in there if key in keys]:
            off = reason(key, snapshot) is not None
            line += [(key.name, "muted" if off else "accent"), (f" {key.label}  ", "muted" if off else "text")]
        last, role = line[-1]
        line[-1] = (last.rstrip(), role)
        if width_of(tuple(line)) <= width:
            return tuple(line)
        keys.pop()
    return ()


def markdown() -> str:
    """The table of docs/keys.md."""
    rows = [f"| `{key.name}` | {'In a replay: ' * (key.replay is True)}{key.help} |" for key in KEYS]
    return "\n".join(["| key | does |", "|---|---|", *rows])


if __name__ == "__main__":
    print(markdown())
