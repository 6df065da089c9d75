"""Whatever a host answers when it is asked: it is refused with an error of ours, or what is made of it can be shown."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motley.console.state.store import Store
from motley.console.view.notice import notice_lines
from motley.console.view.rank_table import table as rank_table
from motley.console.view.run_lines import run_lines
from motley.remote.answers import Answer
from motley.remote.config.cluster import Cluster
from motley.remote.config.load import load
from motley.remote.errors import CommandFailed, UsageError
from motley.remote.experiment.fetch import final_summary, pretty
from motley.remote.feed import Ended
from motley.remote.hosts.reach import Result
from motley.remote.launch.placement import layout_of
from motley.remote.preflight.judge import judge
from motley.remote.preflight.probe import Gpu, Leftover, Probe, parse
from motley.remote.rpc.verbs import _tells_of_a_run, answered
from motley.remote.sanitize import clean_table
from motley.remote.session.runs import merge
from tests.fuzz.mutation import ODD, TEXTS, cases, mutated, nested, table, written
from tests.remote.preflight.test_judge import CARD, CUDA, GOOD

UNSAFE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
NOW = 1_700_000_000.0
HOSTS = ("box1", "box2")
FIGURE = st.floats(0, 1e4)
SMALL = st.integers(0, 9)
ROW = table({"name": st.sampled_from(HOSTS), "ranks": SMALL, "share": FIGURE, "samples_per_s": FIGURE})
SUMMARY = table(
    {
        "run": st.just("night"), "state": st.sampled_from(["finished", "running", "failed"]), "steps": SMALL,
        "epochs": SMALL, "samples": SMALL, "seconds": FIGURE, "samples_per_s": FIGURE, "final_loss": FIGURE,
        "eval": st.none() | table({"accuracy": FIGURE}), "hosts": st.lists(ROW, max_size=2), "rebalances": SMALL,
        "regroups": st.just([]), "phases": st.just({}),
    }
)  # fmt: skip
MEMBER = table({"member": SMALL, "host": st.sampled_from(HOSTS), "device": st.just("cpu"), "dropped": st.booleans()})
RUN = table(
    {
        "run": st.just("night"), "host": st.sampled_from(HOSTS), "leader": st.sampled_from(HOSTS), "left": SMALL,
        "state": st.just("running"), "cause": st.none(), "step": st.none() | SMALL, "started": FIGURE,
        "layout": table(
            {
                "task": st.just("mlp/digits"), "script": st.none(), "global_batch": SMALL, "steps": st.none() | SMALL,
                "policy": st.just("dynamic"), "members": st.lists(MEMBER, max_size=3), "emulated": st.booleans(),
            }
        ),
    }
)  # fmt: skip
BUSY = dataclasses.replace(
    CUDA, gpus=(dataclasses.replace(CARD, free_mib=1),), gpu_trouble="mismatch", port=29500, port_taken="in use",
    open_files=9, processes_left=9, user="ada", unwritable="exists", data_missing="not there", no_way="none",
    leftovers=(Leftover(run="old", host="box1", pids=(7,), supervised=True),), network="192.168.0.0/24",
)  # fmt: skip


def like(right: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """A table as this one, with mistakes in it."""
    return table({key: st.just(value) for key, value in right.items()})


SAID = json.loads(json.dumps(dataclasses.asdict(BUSY)))
PROBE = table(
    {
        **{key: st.just(value) for key, value in SAID.items()},
        "gpus": st.lists(like(SAID["gpus"][0]), max_size=2),
        "leftovers": st.lists(like(SAID["leftovers"][0]), max_size=1),
    }
)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    path: Path = tmp_path_factory.mktemp("cluster") / "cluster.toml"
    path.write_text("".join(f'[[hosts]]\nname = "{host}"\n' for host in HOSTS) + '[data]\npath = "~/pictures"\n')
    return load(path)


@given(st.one_of(st.binary(max_size=40), *(text.map(str.encode) for text in (ODD.map(written), nested()))), TEXTS)
def test_the_answer_of_a_verb(output: bytes, stderr: str) -> None:
    with contextlib.suppress(CommandFailed):
        assert isinstance(answered("box1", "stop", Result(code=1, stdout=output, stderr=stderr), "stop"), Answer)


@cases(50)
@given(st.none() | SUMMARY, st.booleans())
def test_the_summary_of_the_leader(said: dict[str, Any] | None, stopping: bool) -> None:
    told = None if said is None else clean_table(said)
    result = final_summary("night", told, {"box1": "finished"}, HOSTS, stopping)
    assert pretty(result)
    assert isinstance(int(result["steps"] or 0), int)
    store = Store()
    store.apply(Ended(state=str(result["state"]), summary=result), NOW)
    assert notice_lines(store.snapshot(), width=80, folder="experiments/night")
    assert run_lines(store.snapshot(), width=80, now=NOW)


@cases(50)
@given(st.lists(RUN, max_size=3))
def test_the_runs_that_a_host_tells_of(said: list[dict[str, Any]]) -> None:
    rows = [row for row in clean_table(said) if _tells_of_a_run(row)]
    assert len(merge({"box1": rows})) == len({row["run"] for row in rows})
    for row in rows:
        with contextlib.suppress(UsageError):
            store = Store()
            store.apply(layout_of(row), NOW)
            assert run_lines(store.snapshot(), width=80, now=NOW)
            rank_table(store.snapshot(), width=120, now=NOW)


@cases(50)
@given(PROBE, st.sampled_from([GOOD, CUDA, BUSY]))
def test_what_a_host_says_of_itself(cluster: Cluster, said: dict[str, Any], other: Probe) -> None:
    try:
        probe = parse(said)
    except (KeyError, TypeError, ValueError):  # of `parse`: `probe` makes them a CommandFailed
        return
    findings = judge(cluster, {"box1": probe, "box2": other}, {})
    assert not {unicodedata.category(c) for finding in findings for c in finding.cause + finding.remedy} & UNSAFE


@given(mutated(st.sampled_from(["13.0", "580.95.05", "2.13.0+cu130"]), [".", "+", "x", "9" * 30]))
def test_any_version_of_a_driver_or_of_torch(cluster: Cluster, version: str) -> None:
    card = Gpu(index=0, name="card", total_mib=8192, free_mib=1, driver=version)
    for probe in (
        dataclasses.replace(CUDA, gpus=(card,)),
        dataclasses.replace(CUDA, torch_build=f"CUDA {version}"),
        dataclasses.replace(CUDA, torch=version),
    ):
        judge(cluster, {"box1": probe, "box2": CUDA}, {})
