"""A run of a script on the screen and in plain lines: no steps to show, and restarts told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from motley.console.commands.plain import Printer
from motley.console.state.store import Store
from motley.console.view.notice import notice_lines
from motley.console.view.rank_table import table
from motley.console.view.run_lines import decision_lines, run_lines
from motley.console.view.styled_line import text
from motley.remote.feed import Ended, FeedRecord, LogLine, PartialLine
from motley.trainer.contract.wire import Usage
from tests.console import scripted
from tests.console.scripted import HOSTS, START, event

LAYOUT = replace(scripted.layout(), task="train.py", global_batch=0, steps_total=None, script=True)


def group(generation: int, hosts: tuple[str, ...]) -> FeedRecord:
    members = [
        {"member": HOSTS.index(host), "host": host, "rank": rank, "device": "cpu"} for rank, host in enumerate(hosts)
    ]
    words: dict[str, Any] = {"generation": generation, "world_size": len(hosts), "members": members, "step": 0}
    return event("group", f"the script starts: {len(hosts)} ranks", **words)


def lost(host: str) -> FeedRecord:
    member = HOSTS.index(host)
    return event("lost", f"rank {member} on {host} was lost", level="warning", member=member, host=host, cause="lost")


def restarted(number: int) -> FeedRecord:
    why = [{"member": 3, "host": "box2", "cause": "lost"}]
    words = f"restart {number} of 3 (elastic.restarts): rank 3 on box2 was lost"
    return event("restarted", words, level="warning", restart=number, most=3, pause_s=3.5, why=why)


def store_of(*records: FeedRecord) -> Store:
    store = Store()
    for record in (LAYOUT, group(0, HOSTS), *records):
        store.apply(record, START)
    return store


def lines_of(store: Store) -> list[str]:
    snapshot = store.snapshot()
    return [text(line) for line in (*run_lines(snapshot, width=100, now=START), *table(snapshot, width=100, now=START))]


def test_it_runs_once_it_is_started_though_no_step_is_told() -> None:
    store = store_of(event("phase", "training", host="laptop", member=1, phase="training"))
    snapshot = store.snapshot()
    assert (snapshot.phase, snapshot.step) == ("running", 0)
    shown = lines_of(store)
    assert "● running" in shown[0]
    assert "train.py" in shown[0]
    assert "split" not in shown[0]
    assert "batch" not in shown[0]
    assert shown[2] == "the script train.py runs"
    assert any(line.startswith("● laptop") and line.endswith("running") for line in shown)
    assert [text(line) for line in decision_lines(snapshot, width=80)] == ["A script shares out its work itself."]


def test_a_row_says_what_the_script_takes_of_its_host_beside_what_it_is_writing() -> None:
    usage = Usage(time=START, host="laptop", member=1, cpu=93.4, mem_mib=1204.0)
    running = event("phase", "training", host="laptop", member=1, phase="training")
    (line,) = [line for line in lines_of(store_of(running, usage)) if "laptop" in line]
    assert line.endswith("CPU  93%  1.2 GiB   running")
    with_gpu = replace(usage, gpu_util=45.0)
    bar = PartialLine(host="laptop", member=1, text=" 40%|####| 4/10")
    (line,) = [line for line in lines_of(store_of(running, with_gpu, bar)) if "laptop" in line]
    assert line.endswith("CPU  93%  GPU  45%  1.2 GiB   40%|####| 4/10")
    elsewhere = replace(usage, host="box2")
    assert not any("CPU" in line for line in lines_of(store_of(running, elsewhere)))
    ended = store_of(running, usage)
    ended.apply(Ended(state="finished", summary={}), START)
    assert not any("CPU" in line for line in lines_of(ended))


def test_a_row_says_starting_before_and_how_it_ended_after() -> None:
    store = store_of(event("phase", "joining", host="laptop", member=1, phase="joining"))
    assert any("laptop" in line and line.endswith("starting") for line in lines_of(store))
    for state in ("finished", "stopped"):
        ended = store_of(event("phase", "training", host="laptop", member=1, phase="training"))
        ended.apply(Ended(state=state), START)
        assert any(line.startswith("■ laptop") and line.endswith(state) for line in lines_of(ended))


def test_a_row_shows_the_progress_bar_until_its_line_has_its_end() -> None:
    member = HOSTS.index("laptop")
    store = store_of(event("phase", "training", host="laptop", member=member, phase="training"))
    store.apply(PartialLine(host="laptop", member=member, text="\r 40%\r 50%|##### |"), START)
    assert any(line.startswith("● laptop") and line.endswith("50%|##### |") for line in lines_of(store))
    assert not any("40%" in line for line in lines_of(store))
    store.apply(LogLine(host="laptop", member=member, text="100%|##########|"), START)
    assert any(line.startswith("● laptop") and line.endswith("running") for line in lines_of(store))
    store.apply(PartialLine(host="desktop", member=member, text="of another host's rank"), START)
    assert not any("another" in line for line in lines_of(store))


def test_plain_lines_tell_of_a_progress_bar_now_and_then() -> None:
    lines: list[str] = []
    now = [START]
    printer = Printer(write=lines.append, clock=lambda: now[0])
    printer(LAYOUT)
    for second in range(24):
        now[0] = START + second
        printer(PartialLine(host="laptop", member=1, text=f" {second}%"))
        printer(PartialLine(host="laptop", member=1, text=""))
    assert [line.split()[-2:] for line in lines[1:]] == [["laptop", "0%"], ["laptop", "10%"], ["laptop", "20%"]]


def test_a_restart_is_shown_with_who_was_lost() -> None:
    store = store_of(lost("box2"), group(1, HOSTS[:3]), restarted(1))
    shown = lines_of(store)
    assert "3 of 4 ranks on 4 hosts" in shown[0]
    assert shown[2] == "the script train.py runs, started anew 1 time"
    assert any("box2" in line and "lost" in line for line in shown)
    assert [entry.text for entry in store.log()][-1].startswith("restart 1 of 3")


def test_the_summary_tells_of_time_and_restarts_and_of_no_steps() -> None:
    store = store_of(lost("box2"), group(1, HOSTS[:3]), restarted(1))
    hosts = [{"name": host, "share": 0.0} for host in HOSTS]
    store.apply(Ended(state="finished", summary={"state": "finished", "seconds": 61.0, "hosts": hosts}), START)
    shown = " ".join(text(line) for line in notice_lines(store.snapshot(), width=100, folder="experiments/x"))
    assert "restarts 1" in shown
    assert "time 1:01" in shown
    assert "steps" not in shown
    assert "shares" not in shown


def test_plain_lines_tell_it_too() -> None:
    lines: list[str] = []
    printer = Printer(write=lines.append, clock=lambda: START)
    for record in (LAYOUT, group(0, HOSTS), lost("box2"), group(1, HOSTS[:3]), restarted(1)):
        printer(record)
    assert "run home-1: train.py on desktop, laptop (emulated)" in lines[0]
    assert any("warning: restart 1 of 3 (elastic.restarts): rank 3 on box2 was lost" in line for line in lines)


def session(*hosts: str) -> list[FeedRecord]:
    """The script calls `motley.session()`, and its ranks form a group."""
    told = event("session", "rank 0 on desktop called motley.session()", member=0)
    report = event("report", "60 steps", steps_total=60, steps_per_epoch=20, shares=[96, 32, 64, 64], step=0)
    return [told, group(0, hosts or HOSTS), report]


def steps(last: int, generation: int = 0) -> list[FeedRecord]:
    members = range(len(HOSTS))
    return [scripted.sample(step, m, generation=generation) for step in range(1, last + 1) for m in members]


def test_a_script_that_becomes_a_session_is_shown_as_a_task_is() -> None:
    store = store_of(lost("box2"), group(1, HOSTS[:3]), restarted(1), *session())
    snapshot = store.snapshot()
    assert (snapshot.script, snapshot.global_batch, snapshot.steps_total, snapshot.epochs) == (False, 256, 60, 3)
    assert snapshot.policy == scripted.layout().policy
    assert "The first step is under way." in lines_of(store)[2]
    for record in steps(3):
        store.apply(record, START)
    snapshot = store.snapshot()
    assert (snapshot.step, snapshot.samples_per_s is not None) == (3, True)
    shown = lines_of(store)
    assert any("box2" in line and "%" in line for line in shown)
    assert "batch 256" in shown[0]
    assert [text(line) for line in decision_lines(snapshot, width=80)] != ["A script shares out its work itself."]
    store.apply(group(1, HOSTS[:3]), START)  # of the sessions: their groups are counted anew
    assert store.snapshot().regroups[-1].lost == ("box2",)


def test_steps_tell_that_it_is_a_session_before_its_coordinator_s_host_is_heard() -> None:
    store = store_of()
    for record in [*steps(2), *session()]:
        store.apply(record, START)
    assert (store.snapshot().script, store.snapshot().step) == (False, 2)
