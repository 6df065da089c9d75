"""What is shown: the lines of every panel at four widths, as text, without an app."""

from __future__ import annotations

from dataclasses import replace

import pytest

from motley.console.state.snapshot import HostView, Problem, Snapshot, Waiting
from motley.console.state.store import Store
from motley.console.view import figures
from motley.console.view.notice import notice_lines, notice_title
from motley.console.view.plot import plot
from motley.console.view.rank_table import table
from motley.console.view.run_lines import decision_lines, gain_of, gain_text, log_line, run_lines
from motley.console.view.styled_line import clip, fit, text, width_of, wrap
from motley.remote.feed import Ended, Link, Progress
from tests.console import scripted
from tests.console.scripted import START, event, layout, sample

WIDTHS = (50, 80, 120, 200)


def store_after(steps: int) -> Store:
    store = Store()
    store.learn(speeds=scripted.SPEEDS, epochs=10)
    for _, record in [*scripted.startup("home-1"), *scripted.training(steps)]:
        store.apply(record, START)
    return store


@pytest.fixture(scope="module")
def running() -> Snapshot:
    return store_after(120).snapshot()


def shown(snapshot: Snapshot, width: int, now: float = START) -> list[str]:
    return [text(line) for line in table(snapshot, width=width, now=now)]


def header(snapshot: Snapshot) -> list[str]:
    return [text(line) for line in run_lines(snapshot, width=80, now=START)]


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_wider_than_the_terminal(running: Snapshot, width: int) -> None:
    failed = replace(running, problems=(Problem(host="box1", cause="word " * 60, remedy="do " * 90),))
    lines = [
        *run_lines(running, width=width, now=START, frozen=True),
        *table(running, width=width, now=START),
        *decision_lines(running, width=width),
        *notice_lines(failed, width=width),
        *plot(running.throughput, width=width, height=8, marks=[(11, "▲", "warn"), (31, "▼", "bad")]),
    ]
    assert max(width_of(line) for line in lines) <= width


@pytest.mark.parametrize(
    ("width", "titles"),
    [
        (50, ["host", "share", "samples/s", "wait", "age"]),
        (80, ["host", "device", "share", "samples/s", "wait", "memory", "age"]),
        (120, ["host", "device", "share", "samples/s", "step", "ms", "compute", "wait", "memory", "age"]),
    ],
)
def test_narrow_tables_drop_the_least_important_columns(running: Snapshot, width: int, titles: list[str]) -> None:
    header = shown(running, width)[0].split("recent")[0].split()
    assert [title for title in header if title in titles] == titles


def test_a_row_shows_share_throughput_wait_and_memory(running: Snapshot) -> None:
    row = shown(running, 120, START + 2)[1]
    assert row.split()[:4] == ["●", "desktop", "cpu", "128"]
    assert "50%" in row
    assert "300 MiB" in row
    assert "2 s" in row


def test_the_throughputs_of_the_ranks_sum_up_to_the_clusters(running: Snapshot) -> None:
    total = sum(rank.samples_per_s or 0 for rank in running.ranks)
    assert total == pytest.approx(running.samples_per_s, rel=0.01)


@pytest.mark.parametrize("width", [80, 120, 200])
def test_emulated_hosts_are_labelled(running: Snapshot, width: int) -> None:
    rows = shown(running, width)[1:]
    assert "emulated" not in rows[0]
    assert all(f"emulated {figures.TIMES}{speed}" in row for row, speed in zip(rows[1:], ("0.5", "0.25"), strict=False))


def test_a_gpu_column_appears_where_a_rank_has_one() -> None:
    store = store_after(40)
    for member in range(4):
        store.apply(sample(41, member, gpu_util=97.0 if member == 0 else None), START)
    assert "97%" in shown(store.snapshot(), 120)[1]
    assert "GPU" not in shown(store_after(40).snapshot(), 200)[0]


def test_ranks_that_fall_silent_are_marked_by_more_than_colour(running: Snapshot) -> None:
    assert shown(running, 80, START + 2)[1].startswith("●")
    assert shown(running, 80, START + 30)[1].startswith("!")


def test_a_lost_connection_is_said_in_the_row_and_is_not_the_runs_end() -> None:
    store = store_after(30)
    store.apply(Link(host="laptop", up=False, text="no answer for 6 s, trying again"), START)
    row = shown(store.snapshot(), 80)[2]
    assert row.startswith("⇣ laptop")
    assert "link down, heard 0 s ago  no answer for 6 s" in row
    assert "link down, heard 1 m ago" in shown(store.snapshot(), 80, START + 60)[2]


def test_hosts_show_their_stage_before_their_ranks_are_known() -> None:
    store = Store()
    store.apply(Progress(host="box1", stage="push", text="trainer", fraction=0.5), START)
    row = shown(store.snapshot(), 80)[1]
    assert "box1" in row
    assert "push" in row
    assert "50%" in row


def test_several_ranks_of_a_host_are_told_apart() -> None:
    store = Store()
    one = layout()
    store.apply(replace(one, ranks=tuple(replace(rank, host="desktop") for rank in one.ranks)), START)
    assert [row.split()[2] for row in shown(store.snapshot(), 80)[1:]] == ["#0", "#1", "#2", "#3"]


def test_the_run_lines_say_state_step_epoch_loss_accuracy_throughput_and_eta(running: Snapshot) -> None:
    lines = [text(line) for line in run_lines(running, width=80, now=START + 62)]
    assert lines[0].startswith("● running  home-1  simple_cnn/digits")
    assert lines[0].endswith("1:02")
    assert "step 120/240  50 %  epoch 5/10  ETA 0:11" in lines[1]
    for word in ("loss 0.1", "accuracy 95.5 %", "2,945 samples/s", "against equal shares"):
        assert word in lines[2]


def test_advice_is_a_line_of_its_own_while_it_holds() -> None:
    store = store_after(60)
    advice = "leave out box2: with it 196 samples/s, without it about 254"
    store.apply(replace(event("advice", advice, level="warning"), data={"host": "box2"}), START)
    assert text(run_lines(store.snapshot(), width=80, now=START)[3]) == f"▶ {advice}"
    assert any(entry.text == advice for entry in store.log())
    store.apply(replace(event("advice", "box2 no longer slows the run: keep it"), data={"host": None}), START)
    assert len(run_lines(store.snapshot(), width=80, now=START)) == 3


def test_advice_keeps_its_command_where_the_line_is_too_long(running: Snapshot) -> None:
    said = "leave out box2: with it 1,960 samples/s, without it about 2,540: motley drop digits-20261122-093714 box2"
    lines = [text(line) for line in run_lines(replace(running, advice=said), width=80, now=START)[3:]]
    assert len(lines) == 2
    assert " ".join(line[2:] for line in lines) == said
    assert lines[0].startswith("▶ leave out box2")


@pytest.mark.parametrize("kind", ["lost", "group"])
def test_advice_is_gone_as_soon_as_a_host_is(kind: str) -> None:
    store = store_after(60)
    store.apply(replace(event("advice", "leave out box2"), data={"host": "box2"}), START)
    store.apply(event(kind, "", member=1, host="laptop", cause="lost"), START)
    assert store.snapshot().advice == ""


def test_waiting_is_said_with_host_phase_and_time(running: Snapshot) -> None:
    waiting = replace(running, waiting=Waiting(missing=(("laptop", "importing torch"),), since=START - 12))
    assert text(run_lines(waiting, width=80, now=START)[2]) == "waiting for laptop (importing torch), 12 s"


def test_gain_is_what_rank_0_says_of_equal_shares(running: Snapshot) -> None:
    gain = gain_of(running)
    assert gain is not None
    assert gain == pytest.approx(159.6 / 82.8, rel=0.03)
    assert gain_of(store_after(4).snapshot()) is None  # not every rank was measured
    assert gain_text(replace(running, saved_s=41.0)) == f"{figures.TIMES}1.9 against equal shares, 0:41 saved so far"
    equal = replace(running, policy="static", gain=1.0)
    assert gain_of(equal) is None


@pytest.mark.parametrize("width", [30, 50, 78, 120, 198])
def test_the_gain_is_the_last_figure_to_go(running: Snapshot, width: int) -> None:
    line = text(run_lines(replace(running, best_accuracy=0.991), width=width, now=START)[2])
    assert f"{figures.TIMES}1.9 against equal shares" in line
    assert ("waiting " in line) == (width >= 120)


def test_where_equal_shares_would_be_as_fast_it_is_said(running: Snapshot) -> None:
    lines = [text(line) for line in decision_lines(replace(running, gain=0.97), width=120)]
    assert lines[0].startswith("Equal shares would be as fast")
    assert not any(line.startswith("Equal") for line in map(text, decision_lines(running, width=120)))


def test_decisions_show_what_moved_why_predicted_and_realised(running: Snapshot) -> None:
    lines = [text(line) for line in decision_lines(running, width=80)]
    assert lines[0].startswith("step  samples moved   ")
    assert lines[0].endswith("ms a step: before → predicted, measured")
    assert lines[1].startswith("  31  desktop 112→128  box1 40→32  box2 40→32")
    assert lines[1].endswith("102 → 83 ms, measured 86")
    assert "need 2.4 ms a sample" in lines[2]
    assert any(line.startswith("  11  ") for line in lines)


def test_the_heads_of_the_decisions_are_there_in_a_narrow_panel_too(running: Snapshot) -> None:
    lines = [text(line) for line in decision_lines(running, width=46)]
    assert lines[0] == "step  ms a step: before → predicted, measured"
    assert lines[1].strip() == "samples moved"
    assert lines[2].endswith("102 → 83 ms, measured 86")


def test_before_the_first_step_a_run_under_way_does_not_read_as_one_that_has_ended() -> None:
    store = Store()
    store.apply(layout(), START)
    snapshot = replace(store.snapshot(), phase="running")
    assert any("The first step is under way." in line for line in header(snapshot))
    assert any("No step was made." in line for line in header(replace(snapshot, phase="ended", state="stopped")))


@pytest.mark.parametrize("kind", ["warm_restart", "cold_restart"])
@pytest.mark.parametrize("width", [80, 200])
def test_what_became_of_a_restart_is_beside_the_bar_until_the_run_is_on_its_way(kind: str, width: int) -> None:
    said = "cold restart: box1 has changed in cluster.toml"
    store = Store()
    store.begin(START)
    store.apply(event(kind, said, source="console"), START)
    for i in range(100):  # the log has gone on
        store.apply(event("note", f"box{i}: connected"), START)
    progress = text(run_lines(store.snapshot(), width=width, now=START)[1])
    assert progress.endswith(f"  {said}")
    for record in (sample(1, member) for member in range(3)):
        store.apply(record, START)
    assert said not in text(run_lines(store.snapshot(), width=width, now=START)[1])


def test_where_the_first_shares_come_from_stays_with_the_decisions() -> None:
    said = "the first shares are guessed from the names of the devices; motley profile measures"
    for steps, before in ((5, 1), (60, 3)):
        store = store_after(steps)
        store.apply(event("first_shares", said), START)
        lines = [text(line).strip() for line in decision_lines(store.snapshot(), width=90)]
        assert lines[-1] == said
        assert len(lines) > before


def test_a_run_without_decisions_says_why_there_are_none() -> None:
    static = replace(store_after(5).snapshot(), policy="static")
    assert "fixed" in text(decision_lines(static, width=80)[0])


def test_the_root_of_a_failure_comes_first_with_its_remedy() -> None:
    store = store_after(20)
    store.apply(event("rank_failed", "", host="box1", level="error", member=2, traceback="OSError: disk full"), START)
    store.apply(event("rank_failed", "", host="desktop", level="error", member=0, traceback="connection reset"), START)
    store.apply(Ended(state="failed"), START)
    lines = [text(line) for line in notice_lines(store.snapshot(), width=80)]
    assert lines[0] == "✖ box1: rank 2 failed: OSError: disk full"
    assert lines[1].startswith("  → ")
    assert notice_title(store.snapshot()) == "what went wrong"


def test_the_same_cause_on_several_hosts_is_said_once() -> None:
    store = store_after(20)
    for member, host in enumerate(scripted.HOSTS):
        store.apply(event("rank_failed", "", host=host, level="error", member=member, traceback="OSError: no"), START)
    store.apply(Ended(state="failed"), START)
    lines = [text(line) for line in notice_lines(store.snapshot(), width=80)]
    assert lines[0] == "✖ desktop, laptop, box1, box2: OSError: no"
    assert sum("OSError" in line for line in lines) == 1


def test_the_summary_says_accuracy_steps_throughput_time_and_where_it_is() -> None:
    store = store_after(240)
    store.apply(Ended(state="finished", summary=scripted.summary("home-1")), START)
    whole = "\n".join(text(line) for line in notice_lines(store.snapshot(), width=80, folder="experiments/home-1"))
    for part in ("accuracy 98.3 %", "steps 240", "samples/s 2,304", "time 0:42", "rebalances 2", "desktop 50 %"):
        assert part in whole
    assert "saved in experiments/home-1" in whole


def test_wide_characters_keep_the_columns() -> None:
    assert fit("日本語", 5) == "日本…"
    assert width_of(clip((("日本語テキスト", "text"),), 7)) <= 7
    assert wrap("a very long sentence", 8) == ["a very", "long", "sentence"]


def test_a_log_line_marks_warnings_by_a_sign() -> None:
    store = Store()
    store.note("disk nearly full", START, "warning")
    line = text(log_line(store.log()[0], label_width=8))
    assert line.endswith("console   ! disk nearly full")


def test_a_failed_host_says_so_in_its_row() -> None:
    failed = HostView(name="box2", stage="check", text="no torch", failed=True)
    row = shown(Snapshot(phase="ended", hosts=(failed,)), 80)[1]
    assert row.startswith("✖ box2")
    assert "check: no torch" in row
