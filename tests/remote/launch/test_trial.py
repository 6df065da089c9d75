"""`motley check` of a task of the user's own, and `--train`, on demo hosts: what is asked, and what is made of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from motley.console.commands import check as command
from motley.console.view.answer_tables import tried_text
from motley.remote.config.cluster import Cluster
from motley.remote.config.load import load
from motley.remote.errors import Finding
from motley.remote.feed import Progress
from motley.remote.launch import trial as module
from motley.remote.launch.prepare_hosts import preflight
from motley.remote.launch.trial import Trials, Tried, samples_of
from motley.remote.provision.push_code import Tree
from motley.trainer.contract.spec import Member
from tests.remote.stage import Seen, Stage, stand_in_tree

OWN = ["run.task=tasks/night.py", "task.width=3"]
THREE = {"box0": "", "box1": "max_batch = 64", "box2": ""}
RESULT = {"steps": 2, "samples": 86, "first_ms": 812.4, "step_ms": 35.2, "memory_mib": 412}


@pytest.fixture(scope="module", name="tree")
def _tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    root = tmp_path_factory.mktemp("tree")
    stand_in_tree(root)
    stand_in = root / "motley/trainer/verbs/trial.py"
    assert stand_in.is_file()
    shutil.copy(Path(__file__).with_name("stand_in_trial.py"), stand_in)
    return Tree.of(root)


def cluster_of(stage: Stage, *more: str, hosts: Mapping[str, str] = THREE) -> Cluster:
    stage.cluster(hosts=hosts)
    (stage.folder / "tasks").mkdir(exist_ok=True)
    (stage.folder / "tasks/night.py").write_text("mine\n")
    return load(stage.folder / "cluster.toml", list(more))


async def looked(cluster: Cluster, tree: Tree, *, train: bool) -> tuple[list[Finding], Trials, Seen]:
    trials = Trials(seen := Seen(), train=train, tree=tree)
    return list(await preflight(cluster, seen, further=trials, make=train)), trials, seen


def texts(seen: Seen, host: str) -> list[str]:
    return [r.text for r in seen.records if isinstance(r, Progress) and (r.host, r.stage) == (host, "check")]


def left(stage: Stage) -> list[str]:
    """Processes of the trainer on these hosts."""
    home = b"HOME=" + bytes(stage.home / ".motley/demo")
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
            if b"motley.trainer" in words and any(
                v.startswith(home) for v in (entry / "environ").read_bytes().split(b"\0")
            ):
                found.append(b" ".join(words).decode())
    return found


def does(what: str) -> str:
    return f'env = {{STAND_IN_DOES = "{what}"}}'


async def test_a_plain_check_starts_nothing_of_a_task_of_ours(stage: Stage, tree: Tree) -> None:
    findings, trials, seen = await looked(cluster_of(stage), tree, train=False)
    assert (findings, trials.tried, trials.began) == ([], [], False)
    assert not any("importing" in text for text in texts(seen, "box0"))


async def test_a_plain_check_has_a_task_of_the_user_s_own_made(stage: Stage, tree: Tree) -> None:
    """Demo hosts are one machine with one Python: the first is asked."""
    findings, trials, seen = await looked(cluster_of(stage, *OWN), tree, train=False)
    assert (findings, trials.tried) == ([], [])
    assert "cpu: importing torch" in texts(seen, "box0")
    assert "cpu: ['night.py'], {'width': 3}" in texts(seen, "box0")
    assert not any("importing" in text for text in texts(seen, "box1"))
    hosts = {"box0": does("fail"), "box1": ""}
    findings, trials, _ = await looked(cluster_of(stage, *OWN, hosts=hosts), tree, train=False)
    assert findings == [Finding("box0", "task", "error", "night.py:31: KeyError: 'no'", "Mend it.")]
    assert left(stage) == []


async def test_with_train_every_host_does_two_steps_with_what_it_may_get(stage: Stage, tree: Tree) -> None:
    findings, trials, seen = await looked(cluster_of(stage), tree, train=True)
    assert findings == []
    assert [one.as_dict() for one in trials.tried] == [
        {"host": "box0", "device": "cpu", "max_batch": None, "pass_limit": None, "total_mib": None, **RESULT},
        {"host": "box1", "device": "cpu", "max_batch": 64, "pass_limit": None, "total_mib": None, **RESULT,
         "samples": 64},
        {"host": "box2", "device": "cpu", "max_batch": None, "pass_limit": None, "total_mib": None, **RESULT},
    ]  # fmt: skip
    assert texts(seen, "box2")[-1] == "cpu: tried"
    assert left(stage) == []


@pytest.mark.parametrize(
    ("what", "level", "cause", "remedy"),
    [
        ("fail", "error", "night.py:31: KeyError: 'no'", "Mend it."),
        ("die", "error", "the task could not be tried; it said: bus error", "Report this."),
        ("lie", "error", "what `trial` answered there can't be used: memory_mib of type str", "Report this."),
        pytest.param(
            "hang",
            "error",
            "the host had not done it after ",
            "The machine may be overloaded; try again.",
            marks=pytest.mark.long,
        ),
        ("small", "warning", "86 samples do not fit into its memory at once: 16 do", "max_batch = 16 gives it no more"),
    ],
)
async def test_a_host_on_which_it_does_not_work_is_a_finding_and_the_others_are_tried(
    stage: Stage, tree: Tree, monkeypatch: pytest.MonkeyPatch, what: str, level: str, cause: str, remedy: str
) -> None:
    cluster = cluster_of(stage, *OWN, hosts={"box0": "", "box1": does(what), "box2": ""})
    if what == "hang":  # all others are done before it is given up
        monkeypatch.setattr(module, "TRIED_S", 15.0)
    findings, trials, _ = await looked(cluster, tree, train=True)
    (finding,) = findings
    assert (finding.host, finding.check, finding.level) == ("box1", "train", level)
    assert finding.cause.startswith(cause)
    assert remedy in finding.remedy
    there = ["box0", "box1", "box2"] if what == "small" else ["box0", "box2"]
    assert [one.host for one in trials.tried] == there
    assert left(stage) == []


async def test_nothing_is_left_when_it_is_broken_off(stage: Stage, tree: Tree) -> None:
    cluster = cluster_of(stage, hosts={"box0": does("hang"), "box1": ""})
    trials = Trials(seen := Seen(), train=True, tree=tree)
    looking = asyncio.ensure_future(preflight(cluster, seen, further=trials, make=True))
    await seen.until(lambda record: isinstance(record, Progress) and record.text == "cpu: hangs")
    assert any("trial" in words for words in left(stage))
    looking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await looking
    assert left(stage) == []


async def test_of_a_script_it_says_that_its_steps_can_t_be_counted(stage: Stage, tree: Tree) -> None:
    cluster = cluster_of(stage, "run.script=tasks/night.py", hosts={"box0": "", "box1": ""})
    findings, trials, _ = await looked(cluster, tree, train=True)
    assert [finding for finding in findings if finding.check != "script"] == []
    assert trials.tried[1].as_dict() == {
        "host": "box1", "device": "cpu", "memory_mib": 61, "steps": None, "script": "night.py", "seconds": 20.04,
        "ended": False,
    }  # fmt: skip
    assert tried_text(trials.tried[0]) == (
        "✔ box0 cpu: night.py was ended after 20.0 s; without motley.session() no steps are counted. "
        "61 MiB of memory at most in one process"
    )


def test_what_a_device_took_is_a_line_for_people() -> None:
    one = Tried(host="box1", device="cuda:0", samples=64, steps=2, first_ms=812.4, step_ms=35.2, memory_mib=3210)
    assert tried_text(replace(one, total_mib=8192)) == (
        "✔ box1 cuda:0: 2 steps of 64 samples, the first 812 ms, then 35.2 ms; 3,210 of 8,192 MiB of memory at most; "
        "they fit at once"
    )
    assert tried_text(replace(one, max_batch=64, pass_limit=16)).endswith(
        "64 samples (max_batch 64), the first 812 ms, then 35.2 ms; 3,210 MiB of memory at most"
    )


def test_of_a_language_model_it_says_what_was_expected_and_what_fits() -> None:
    one = Tried(host="box1", device="cuda:0", samples=4, steps=2, first_ms=812.4, step_ms=351.0, memory_mib=6800)
    fits = "7.6 GiB free: LoRA fits at 1 x 1024, not at 1 x 2048; QLoRA would fit at 1 x 2048"
    text = tried_text(replace(one, fits=fits, expected_mib=9104, length=2048))
    assert text.splitlines()[1] == f"    {fits}; expected for 1 x 2048: 9,104 MiB"
    assert "fits" not in one.as_dict()
    assert replace(one, fits=fits).as_dict()["fits"] == fits


def test_what_each_is_tried_with_is_what_it_may_get(stage: Stage) -> None:
    members = [
        Member(member=n, host=f"box{n}", local_rank=0, device="cpu", max_batch=cap)
        for n, cap in enumerate((None, 64, 999))
    ]

    def samples(*more: str) -> list[int]:
        cluster = cluster_of(stage, *more)
        return [samples_of(cluster, members, member) for member in members]

    assert samples() == [86, 64, 256]
    assert samples("balance.policy=static", "balance.shares=[200, 56, 0]") == [200, 56, 1]


async def test_the_command_prints_it_for_people_and_for_programs(
    stage: Stage, tree: Tree, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Tree, "installed", lambda: tree)
    cluster = cluster_of(stage, hosts={"box0": "", "box1": does("fail")})

    async def printed(**how: Any) -> tuple[int, str]:
        code = await asyncio.to_thread(command.check, cluster, **how)
        return code, capsys.readouterr().out

    code, text = await printed(json=False, train=True)
    assert (code, text.splitlines()) == (
        3,
        [
            "✖ box1: night.py:31: KeyError: 'no'", "    Mend it.",
            "✔ box0 cpu: 2 steps of 128 samples, the first 812 ms, then 35.2 ms; 412 MiB of memory at most",
        ],
    )  # fmt: skip
    code, text = await printed(json=True, train=True)
    table = json.loads(text)
    assert (code, table["ok"], [one["host"] for one in table["tried"]]) == (3, False, ["box0"])
    assert table["findings"][0]["check"] == "train"
    code, text = await printed(json=True)
    assert json.loads(text) == {"ok": True, "findings": []}
