"""What a script writes comes home from demo hosts, and a run goes on from it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from functools import partial
from typing import Any

import pytest

from motley.console.commands.clean import clean
from motley.remote.config.load import load
from motley.remote.errors import UsageError
from motley.remote.session.session import Session
from motley.trainer.contract.wire import Event
from tests.remote.stage import Seen, Stage, take_away
from tests.remote.test_script_run import WAITS, cluster, events, launched, project

# Counts on from the newest result it finds, as libraries do; it knows nothing of Motley.
COUNTS = """
import os, pathlib, signal, sys
out = pathlib.Path("out")
out.mkdir(exist_ok=True)
done = max((int(path.stem) for path in out.glob("*.txt")), default=0)
resumes = os.environ.get("MOTLEY_RESUME", "nothing")
print(f"rank {os.environ['RANK']} begins after {done}, resumes {resumes}", flush=True)
if os.environ["RANK"] == "0":
    part = out / ".part"
    part.write_text("result" * 1000)
    part.rename(out / f"{done + 1}.txt")
    pathlib.Path("other.txt").write_text("not wanted")
"""


GOES_ON = """
import time
while not pathlib.Path(os.environ["MOTLEY_DIR"], "go_on").exists():
    time.sleep(0.02)
pathlib.Path("out/3.txt").write_text("last")
"""


def with_results(stage: Stage, text: str, *, hosts: tuple[str, ...] = ("box0", "box1"), more: str = "") -> Any:
    project(stage, text)
    config = cluster(stage, hosts=dict.fromkeys(hosts, ""), more="[elastic]\nlost_after_s = 0.5\n").path
    config.write_text(config.read_text().replace("stop_grace_s", f'results = ["out/*.txt"]\n{more}stop_grace_s'))
    return load(config)


async def started(stage: Stage, run: str, given: Any, *, resume: str | None = None) -> tuple[Session, Seen]:
    session = stage.session(run, seen := Seen(), given)
    group = asyncio.ensure_future(seen.until(lambda r: isinstance(r, Event) and r.kind == "group"))
    await session.launch(resume=resume)
    await group
    return session, seen


def home(stage: Stage, run: str) -> dict[str, list[str]]:
    """The names of the files here, by host."""
    folder = stage.experiment(run) / "results"
    hosts = [path for path in folder.iterdir() if not path.is_symlink()] if folder.exists() else []
    return {host.name: sorted(os.path.relpath(p, host) for p in host.rglob("*") if p.is_file()) for host in hosts}


def brought(host: str) -> Any:
    return lambda r: (
        isinstance(r, Event) and r.kind == "results" and r.text.startswith(f"results of {host} are brought")
    )


@pytest.mark.long
async def test_they_come_as_they_settle_and_all_at_the_end(stage: Stage) -> None:
    session, seen = await started(stage, "night", with_results(stage, COUNTS + GOES_ON))
    await seen.until(brought("box0"))  # while the script runs
    assert home(stage, "night") == {"box0": ["out/1.txt"]}
    for host in ("box0", "box1"):
        (stage.run_folder("night", host) / "go_on").touch()
    ended = await session.wait()
    await session.close()
    assert ended.state == "finished"
    assert home(stage, "night") == {"box0": ["out/1.txt", "out/3.txt"]}  # of rank 0's host alone
    assert (stage.experiment("night") / "results/latest/out/3.txt").read_text() == "last"
    assert "of box0 (2 files)" in events(seen, "results")[-1].text
    trees = (stage.run_folder("night", "box0").parents[2] / "code").rglob("out")
    assert list(trees) == []  # what was pushed stays as it was
    assert stage.alive() == []


async def test_a_console_that_was_away_brings_them_when_it_comes_back(stage: Stage) -> None:
    session, _ = await started(stage, "night", with_results(stage, COUNTS, more='results_from = "all"\n'))
    await session.close()
    again = stage.session("night", Seen())
    await again.attach()
    await again.wait()
    await again.close()
    assert home(stage, "night")["box0"] == ["out/1.txt"]
    assert stage.alive() == []


@pytest.mark.longest
async def test_of_a_host_that_is_gone_what_had_settled_is_here_and_its_successor_has_a_folder_too(stage: Stage) -> None:
    session, seen = await started(stage, "night", with_results(stage, COUNTS + WAITS))
    await seen.until(brought("box0"))
    await take_away(session, "box0")
    state = json.loads((stage.run_folder("night", "box0") / "state.json").read_text())
    os.kill(state["pid"], signal.SIGKILL)
    await seen.until(brought("box1"))
    assert (await session.stop("enough")).state == "stopped"
    await session.close()
    assert home(stage, "night") == {"box0": ["out/1.txt"], "box1": ["out/1.txt"]}
    assert os.readlink(stage.experiment("night") / "results/latest") == "box1"
    again = stage.session("night", Seen())  # box0 answers now
    await again.attach()
    await again.wait()
    await again.close()
    assert os.readlink(stage.experiment("night") / "results/latest") == "box1"
    session, seen = await started(stage, "day", with_results(stage, COUNTS, hosts=("box0",)), resume="night")
    assert (await session.wait()).state == "finished"
    await session.close()
    told = "box1, which had rank 0 last, does not answer: the results of box1 that are here are taken"
    assert told in [event.text for event in events(seen, "note")]
    assert home(stage, "day") == {"box0": ["out/1.txt", "out/2.txt"]}


async def test_patterns_that_name_nothing_are_told_at_the_end(stage: Stage) -> None:
    session, seen = await started(stage, "night", with_results(stage, "pass\n"))
    assert (await session.wait()).state == "finished"
    await session.close()
    told = "[run] results names nothing that the script has written on box0"
    assert told in [event.text for event in events(seen, "note")]


@pytest.mark.long
async def test_a_stopped_run_goes_on_from_its_newest_result_on_another_number_of_hosts(stage: Stage) -> None:
    session, seen = await started(stage, "night", with_results(stage, COUNTS + WAITS))
    await seen.until(brought("box0"))
    await session.stop("enough")
    await session.close()
    given = with_results(stage, COUNTS, hosts=("box1", "box2", "box3"))
    session, seen = await started(stage, "day", given, resume="night")
    ended = await session.wait()
    await session.close()
    assert ended.state == "finished"
    for rank in range(3):
        log = (stage.experiment("day") / f"logs/rank_{rank}.log").read_text()
        assert f"rank {rank} begins after 1, resumes /" in log
    assert home(stage, "day") == {"box1": ["out/1.txt", "out/2.txt"]}
    (note,) = [e.text for e in events(seen, "note") if e.text.startswith("goes on from the results")]
    assert note.startswith("goes on from the results of 'night', those of box0: 1 file, ")
    assert stage.alive() == []


async def test_where_nothing_was_left_there_is_nothing_to_go_on_from(stage: Stage) -> None:
    session, _ = await launched(stage, "pass\n")
    await session.wait()
    await session.close()
    session = stage.session("day", Seen(), with_results(stage, COUNTS))
    with pytest.raises(UsageError, match=r"'night' has left no results, .* \[run\] results names what it writes"):
        await session.launch(resume="night")
    await session.close()
    assert stage.alive() == []


@pytest.mark.long
async def test_what_can_not_be_brought_is_told_once_and_the_rest_comes(stage: Stage) -> None:
    odd = "os.symlink('/etc/hostname', 'out/9.txt')\nos.mkfifo('out/8.txt')\n"
    session, seen = await started(stage, "night", with_results(stage, COUNTS + odd + WAITS))
    await seen.until(brought("box0"))
    await session.stop("enough")
    await session.close()
    assert home(stage, "night") == {"box0": ["out/1.txt"]}
    told = [e.text for e in events(seen, "note") if e.text.startswith("results of box0")]
    assert sorted(told) == [
        "results of box0: out/8.txt: it is no file of bytes",
        "results of box0: out/9.txt: it is a link that leads out, to /etc/hostname",
    ]


@pytest.mark.long
async def test_clean_keeps_the_only_copy_and_says_so(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    given = with_results(stage, COUNTS)
    for run in ("here", "there"):
        session, _ = await started(stage, run, given)
        if run == "here":
            await session.wait()
        else:
            await session._logbook._results.close()  # type: ignore[union-attr]
            await session.wait()
        await session.close()
    clean_all = partial(clean, given, older_days=0.0, yes=True, json=False)
    assert await asyncio.to_thread(clean_all) == 0
    told = capsys.readouterr().err
    assert "box0: 'there' stays, for 1 file of 'there'" in told
    attach = f"motley attach there -c {given.path}"
    assert f"out/1.txt) are nowhere else. {attach} brings them here" in told
    assert "here'" not in told.replace("'there'", "")
    assert stage.run_folder("there", "box0").exists()
    assert not stage.run_folder("here", "box0").exists()
    assert await asyncio.to_thread(clean_all, with_results=True) == 0
    assert "that are nowhere else go with it" in capsys.readouterr().err
    assert not stage.run_folder("there", "box0").exists()
