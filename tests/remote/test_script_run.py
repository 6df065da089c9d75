"""A run of the user's own script as one console sees it, on demo hosts: pushed, started, stopped, started anew."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Mapping
from typing import Any

import pytest

from motley.remote.config.load import load
from motley.remote.errors import CheckFailed, ConfigError, UsageError
from motley.remote.feed import Layout, LogLine, PartialLine, Progress
from motley.remote.session.runs import status
from motley.remote.session.session import Session
from motley.trainer.bootstrap.code_trees import LISTING, STAMP
from motley.trainer.contract.wire import Event, Reading, Sample, Usage, decode
from tests.remote.stage import HOSTS, Seen, Stage, take_away

SCRIPT = """
import json, os, pathlib, signal, sys
import helper
place = pathlib.Path(os.environ["MOTLEY_DIR"])
kept = place / ".part"
kept.write_text(json.dumps({"args": sys.argv[1:], "pid": os.getpid(), **os.environ}))
kept.rename(place / f"seen_{os.environ['MOTLEY_RESTART']}")
print(f"rank {os.environ['RANK']} of {os.environ['WORLD_SIZE']}, restart {os.environ['MOTLEY_RESTART']}, {helper.WORD}")
"""
WAITS = "while True: signal.pause()\n"


async def launched(
    stage: Stage, text: str = SCRIPT + WAITS, *, more: str = "", hosts: Mapping[str, str] = HOSTS, run: str = "night"
) -> tuple[Session, Seen]:
    """A session whose script was started on every host."""
    project(stage, text)
    seen = Seen()
    session = stage.session(run, seen, cluster(stage, more=more, hosts=hosts))
    group = asyncio.ensure_future(seen.until(lambda r: isinstance(r, Event) and r.kind == "group"))
    await session.launch()
    await group
    return session, seen


def project(stage: Stage, text: str) -> None:
    folder = stage.folder / "code"
    folder.mkdir(exist_ok=True)
    (folder / "train.py").write_text(text)
    (folder / "helper.py").write_text("WORD = 'hello'\n")
    (folder / ".motleyignore").write_text("*.md\n")
    (folder / "notes.md").write_text("not for the hosts")


def cluster(stage: Stage, *, more: str = "", hosts: Mapping[str, str] = HOSTS) -> Any:
    path = stage.folder / "cluster.toml"
    path.write_text(
        f'[cluster]\nname = "stage"\nconnect = "demo"\nport = {stage.port}\n'
        + '[run]\nscript = "code/train.py"\nargs = ["--lr", "0.1"]\nstop_grace_s = 0.5\n'
        + "".join(f'[[hosts]]\nname = "{n}"\n{k}\n' for n, k in hosts.items())
        + more
    )
    return load(path)


def seen_by(stage: Stage, host: str, restart: int = 0, run: str = "night") -> dict[str, Any]:
    table: dict[str, Any] = json.loads((stage.run_folder(run, host) / f"seen_{restart}").read_text())
    return table


def says(word: str) -> Any:
    return lambda record: isinstance(record, LogLine) and word in record.text


def writes(host: str) -> Any:
    return lambda record: isinstance(record, PartialLine) and record.host == host


def events(seen: Seen, kind: str) -> list[Event]:
    return [record for record in seen.records if isinstance(record, Event) and record.kind == kind]


async def test_from_launch_to_summary(stage: Stage) -> None:
    session, seen = await launched(stage, SCRIPT, more="[balance]\nwindow = 9\n")
    ended = await session.wait()
    await session.close()
    assert (ended.state, ended.unanswered) == ("finished", ())
    assert ended.summary == stage.summary("night")
    assert (ended.summary["steps"], ended.summary["final_loss"], ended.summary["regroups"]) == (0, None, [])
    assert [(h["name"], h["state"]) for h in ended.summary["hosts"]] == [("box0", "finished"), ("box1", "finished")]
    assert set(ended.summary["phases"]) >= {"connect_s", "push_s", "spawn_s", "rendezvous_s"}
    second = seen_by(stage, "box1")
    assert (second["args"], second["NODE_RANK"], second["LOCAL_RANK"]) == (["--lr", "0.1"], "1", "0")
    assert (second["MASTER_ADDR"], second["MASTER_PORT"]) == ("127.0.0.1", str(stage.port))
    log = stage.experiment("night") / "logs/rank_1.log"
    assert log.read_text() == "rank 1 of 2, restart 0, hello\n"
    code = stage.run_folder("night", "box1").parents[2] / "code"
    trees = [{file.name for file in tree.iterdir()} - {"__pycache__", LISTING, STAMP} for tree in code.iterdir()]
    assert {".motleyignore", "helper.py", "train.py"} in trees
    (layout,) = [record for record in seen.records if isinstance(record, Layout)]
    assert (layout.task, layout.script, layout.policy, layout.global_batch) == ("code/train.py", True, "dynamic", 0)
    warnings = [event.text for event in events(seen, "note") if event.level == "warning"]
    assert any("balance.window has no effect on a script" in text for text in warnings)
    assert stage.alive() == []


@pytest.mark.parametrize(
    ("started", "shown", "argv"),
    [
        ('module = "train"', "python -m train", ["--lr", "0.1"]),
        pytest.param(
            'command = ["python", "train.py", "first"]',
            "python train.py first",
            ["first", "--lr", "0.1"],
            marks=pytest.mark.long,
        ),
        pytest.param('command = ["./go.sh"]', "./go.sh", ["by", "go", "--lr", "0.1"], marks=pytest.mark.long),
    ],
)
async def test_a_module_and_a_command_run_in_the_project(
    stage: Stage, started: str, shown: str, argv: list[str]
) -> None:
    project(stage, SCRIPT)
    (stage.folder / "code/go.sh").write_text('#!/bin/sh\nexec python train.py by go "$@"\n')
    (stage.folder / "code/go.sh").chmod(0o755)
    config = cluster(stage).path
    config.write_text(config.read_text().replace('script = "code/train.py"', f'{started}\nproject = "code"'))
    session = stage.session("night", seen := Seen(), load(config))
    await session.launch()
    ended = await session.wait()
    await session.close()
    assert ended.state == "finished", [r.text for r in seen.records if isinstance(r, LogLine)]
    found = seen_by(stage, "box1")
    assert (found["args"], found["RANK"], found["WORLD_SIZE"]) == (argv, "1", "2")
    (layout,) = [record for record in seen.records if isinstance(record, Layout)]
    assert (layout.task, layout.script) == (shown, True)
    (row,) = (await status(load(config)))["runs"]
    assert (row["run"], row["state"]) == ("night", "finished")


async def test_a_command_that_a_host_has_not_is_told_before_anything_starts(stage: Stage) -> None:
    project(stage, SCRIPT)
    config = cluster(stage).path
    started = 'command = ["no-such-program", "x"]\nproject = "code"'
    config.write_text(config.read_text().replace('script = "code/train.py"', started))
    session = stage.session("night", Seen(), load(config))
    with pytest.raises(CheckFailed) as caught:
        await session.launch()
    await session.close()
    found = [(f.host, f.check, f.level) for f in caught.value.findings]
    assert found == [("box0", "script", "error"), ("box1", "script", "error")]
    assert "there is no no-such-program in " in caught.value.findings[0].cause
    assert stage.alive() == []


async def test_what_a_script_takes_of_its_host_is_told(stage: Stage) -> None:
    session, seen = await launched(stage, "while True: pass\n", hosts={"box0": ""})
    await seen.until(lambda record: isinstance(record, Usage) and record.cpu > 1)
    told = [record for record in seen.records if isinstance(record, Usage)][-1]
    assert (told.host, told.member, told.gpu_util) == ("box0", 0, None)
    assert 5 < told.mem_mib < 1000
    await session.stop("enough")
    await session.close()
    kept = (stage.experiment("night") / "logs/rank_0_metrics.jsonl").read_bytes().splitlines()
    assert told in [decode(line) for line in kept]
    assert stage.alive() == []


async def test_a_progress_bar_without_a_newline_is_seen_while_it_runs(stage: Stage) -> None:
    bar = "import sys, signal\nfor n in range(3): sys.stdout.write(f'\\r{n * 50}%|bar|')\nsys.stdout.flush()\n"
    session, seen = await launched(stage, bar + WAITS)
    for host in HOSTS:
        if not any(map(writes(host), seen.records)):
            await seen.until(writes(host))
    bars = {record.text for record in seen.records if isinstance(record, PartialLine)}
    assert bars == {"100%|bar|"}
    await session.stop("enough")
    await session.close()
    assert (stage.experiment("night") / "logs/rank_0.log").read_text().endswith("100%|bar|\n")


async def test_a_project_that_is_there_is_not_sent_again(stage: Stage) -> None:
    said: list[list[str]] = []
    for run, word in (("one", "hello"), ("two", "hello"), ("three", "bye")):
        project(stage, SCRIPT)
        (stage.folder / "code/helper.py").write_text(f"WORD = {word!r}\n")
        session = stage.session(run, seen := Seen(), cluster(stage))
        await session.launch()
        await session.wait()
        await session.close()
        said.append([r.text for r in seen.records if isinstance(r, Progress) and "project" in r.text])
    assert any(text.startswith("sending the project") for text in said[0])
    assert said[1] == ["the project is there already"] * 2
    assert any(text.startswith("sending the project") for text in said[2])


async def test_leaving_and_coming_back_and_stopping(stage: Stage) -> None:
    first, seen = await launched(stage)
    while {r.host for r in seen.records if isinstance(r, LogLine) and "restart 0" in r.text} != set(HOSTS):
        await seen.until(says("restart 0"))
    await first.close()
    assert len(stage.alive()) == 7  # two supervisors, a coordinator, two processes for the ranks, two scripts
    found = await status(load(stage.folder / "cluster.toml"))
    assert [(run["run"], run["state"]) for run in found["runs"]] == [("night", "running")]
    (stage.folder / "code/train.py").unlink()  # what runs does not need it
    second = stage.session("night", again := Seen())
    await second.attach()
    layout = next(record for record in again.records if isinstance(record, Layout))
    assert (layout.task, layout.script, layout.attached) == ("code/train.py", True, True)
    ended = await second.stop("x pressed")
    await second.close()
    assert (ended.state, ended.unanswered) == ("stopped", ())
    assert stage.alive() == []
    assert {h["state"] for h in stage.summary("night")["hosts"]} == {"stopped"}


@pytest.mark.long
async def test_a_killed_host_is_left_out_of_the_next_start(stage: Stage) -> None:
    """Its supervisor dies, and what it has started with it."""
    hosts = {"box0": "", "box1": "", "box2": ""}
    session, seen = await launched(stage, hosts=hosts, more="[elastic]\nlost_after_s = 0.5\n")
    await take_away(session, "box1")  # else this console brings it back
    state = json.loads((stage.run_folder("night", "box1") / "state.json").read_text())
    again = [asyncio.ensure_future(seen.until(says(f"rank {n} of 2, restart 1"))) for n in (0, 1)]
    os.kill(state["pid"], signal.SIGKILL)
    await asyncio.gather(*again)
    assert [seen_by(stage, host, 1)["RANK"] for host in ("box0", "box2")] == ["0", "1"]
    (event,) = events(seen, "restarted")
    assert event.text == "restart 1 of 3 (elastic.restarts): rank 1 on box1 was lost"
    ended = await session.stop("enough")
    await session.close()
    assert ended.state == "stopped"
    (record,) = ended.summary["regroups"]
    assert (record["cause"], record["host"]) == ("lost", "box1")
    assert record["pause_s"] >= 1


@pytest.mark.long
async def test_a_lost_leader_is_followed_by_another_host(stage: Stage) -> None:
    hosts = {"box0": "", "box1": "", "box2": ""}
    session, seen = await launched(stage, hosts=hosts, more="[elastic]\nlost_after_s = 0.5\n")
    await take_away(session, "box0")
    state = json.loads((stage.run_folder("night", "box0") / "state.json").read_text())
    again = [asyncio.ensure_future(seen.until(says(f"rank {n} of 2, restart 1"))) for n in (0, 1)]
    os.kill(state["pid"], signal.SIGKILL)
    await asyncio.gather(*again)
    assert seen_by(stage, "box1", 1)["RANK"] == "0"
    ended = await session.stop("enough")
    await session.close()
    assert ended.state == "stopped"
    assert [record["host"] for record in ended.summary["regroups"]] == ["box0"]


async def test_a_script_that_fails_on_one_host_ends_on_all(stage: Stage) -> None:
    text = SCRIPT + "if os.environ['RANK'] == '1': raise RuntimeError('out of luck')\n" + WAITS
    session, seen = await launched(stage, text)
    ended = await session.wait()
    await session.close()
    assert (ended.state, ended.summary["cause"]) == ("failed", "rank 1 on box1 failed: RuntimeError: out of luck")
    roots = [event for event in events(seen, "rank_failed") if event.data["root_cause"]]
    assert [(event.host, event.text) for event in roots] == [("box1", "rank 1: exit code 1")]
    assert roots[0].data["traceback"].endswith("RuntimeError: out of luck")
    assert {h["state"] for h in ended.summary["hosts"]} == {"failed"}
    assert stage.alive() == []


async def test_no_script_starts_nothing_and_says_where_it_was_looked_for(stage: Stage) -> None:
    given = cluster(stage)
    session = stage.session("night", Seen(), given)
    with pytest.raises(ConfigError, match=r"run\.script: there is no file .*/code/train\.py"):
        await session.launch()
    await session.close()
    project(stage, SCRIPT)
    session = stage.session("night", Seen(), given)
    with pytest.raises(UsageError, match="neither the hosts nor .* have a run of that name"):
        await session.launch(resume="old")
    await session.close()
    assert stage.alive() == []
    assert not (stage.folder / "experiments").exists()


FIGURES = """
import os, sys, time
if os.environ["RANK"] == "0":
    sys.stderr.write("\\r  0%|          | 0/40 [00:00<?, ?it/s]")
    sys.stderr.write("\\r 20%|##        | 8/40 [00:06<00:12,  3.27it/s]")
    print("\\r    \\r{'loss': '4.25', 'epoch': '0.5'}", flush=True)
    sys.stderr.write("\\r 25%|##        | 10/40 [00:06<00:12,  3.27it/s]")
    sys.stderr.flush()
"""


async def test_what_a_script_prints_of_its_training_is_told_and_kept(stage: Stage) -> None:
    session, seen = await launched(stage, FIGURES + "import signal\n" + WAITS)
    await seen.until(lambda r: isinstance(r, Reading) and r.step == 10 and r.loss is not None)
    told = [record for record in seen.records if isinstance(record, Reading)][-1]
    assert (told.host, told.member, told.steps_total, told.loss, told.epoch) == ("box0", 0, 40, 4.25, 0.5)
    assert not any(isinstance(record, Sample) for record in seen.records)
    assert (await session.stop("enough")).unanswered == ()
    await session.close()
    kept = (stage.experiment("night") / "logs/rank_0_metrics.jsonl").read_bytes().splitlines()
    assert told in [decode(line) for line in kept]
    again = stage.session("night", later := Seen())
    await again.attach()
    await again.wait()
    await again.close()
    assert told in later.records
    assert stage.alive() == []
