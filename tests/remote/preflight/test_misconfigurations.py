"""Hosts that are set up wrongly, each in one way: `motley check` names the host, the cause and the remedy.

How long the check of each takes: tests/bench/bench_misconfigurations.py.

Those that only a machine of its own can show (firewalls, routes, disks) are in tests/lab/test_misconfigurations.py.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from motley.remote.config.cluster import Cluster
from motley.remote.config.load import load
from motley.remote.errors import Finding
from motley.remote.launch.prepare_hosts import preflight
from motley.remote.launch.trial import Trials
from motley.remote.preflight import check_names
from motley.remote.preflight.check_names import CHECKS
from tests.lab import test_misconfigurations as test_lab
from tests.remote.preflight import wrong_container, wrong_inside, wrong_way_in
from tests.remote.preflight.misconfigured import CASES, Box, Case
from tests.remote.sshd import Sshd
from tests.remote.stage import Seen, Stage

pytestmark = pytest.mark.runs  # of the whole check, on hosts over a real sshd
__all__ = ["wrong_container", "wrong_inside", "wrong_way_in"]  # imported for the cases in them


@pytest.fixture
def box(tmp_path: Path, home: Path, make_sshd: Callable[..., Sshd]) -> Iterator[Box]:
    with ExitStack() as held:
        yield Box(tmp_path, home, make_sshd, held)


async def found(box: Box) -> list[Finding]:
    cluster = written(box)
    return list(await preflight(cluster, lambda _: None, further=Trials(lambda _: None, train=False)))


def written(box: Box) -> Cluster:
    """The cluster.toml of a host in order, which is this machine, and of the box."""
    box.serve()
    leader = "box" if box.leads or box.alone else "good"
    sections = ["[cluster]", 'name = "test"', f"port = {box.port}", f'leader = "{leader}"']
    sections += [] if box.alone else ["[[hosts]]", 'name = "good"', 'connect = "demo"']
    sections += ["[[hosts]]", 'name = "box"']
    sections += [f"{key} = {toml(value)}" for key, value in box.keys.items()]
    path = box.folder / "cluster.toml"
    path.write_text("\n".join([*sections, *box.cluster]) + "\n")
    return load(path)


def toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + "}"
    return json.dumps(value)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
async def test_each_is_named_with_host_cause_and_remedy(case: Case, box: Box) -> None:
    case.inject(box)
    findings = await found(box)
    where = {"max_batch": "good", "shares": "good", "machine": "twin", "script": "good"}.get(case.check, "box")
    assert [(f.host, f.check) for f in findings if f.check not in case.besides] == [(where, case.check)]
    (finding,) = (f for f in findings if f.check == case.check)
    assert finding.level == case.level
    assert case.cause in finding.cause
    assert case.remedy in finding.remedy
    assert case.command in finding.remedy
    assert case.remedy or case.command
    for command in commands(finding.remedy):
        parsed = subprocess.run(["bash", "-n", "-c", command], capture_output=True, text=True, check=False)
        assert parsed.returncode == 0, f"{command}: {parsed.stderr}"


async def test_nothing_is_said_of_hosts_in_order(box: Box) -> None:
    assert await found(box) == []


async def test_what_a_run_left_is_ended_by_the_command_given(box: Box) -> None:
    (case,) = (case for case in CASES if case.name == "a run of another file left processes")
    case.inject(box)
    (finding,) = await found(box)
    command = shlex.split(commands(finding.remedy)[0])[-1]
    assert re.fullmatch(r"kill \d+", command)
    subprocess.run(["sh", "-c", command], check=True)
    assert await found(box) == []


async def test_what_has_the_name_of_our_folder_is_moved_by_the_command_given(box: Box) -> None:
    (case,) = (case for case in CASES if case.check == "write")
    case.inject(box)
    (finding,) = await found(box)
    command = shlex.split(commands(finding.remedy)[0])[-1]
    subprocess.run(["sh", "-c", command], check=True, env={"HOME": str(box.serve().home), "PATH": "/usr/bin:/bin"})
    assert await found(box) == []


async def test_a_run_at_work_is_named_with_the_command_that_ends_it(stage: Stage) -> None:
    cluster = stage.cluster()
    session = stage.session("night", Seen())
    await session.launch()
    findings = await preflight(cluster, lambda _: None)
    assert [(f.host, f.check, f.level) for f in findings] == [
        ("box0", "port", "error"),
        ("box0", "leftovers", "warning"),
        ("box1", "leftovers", "warning"),
    ]
    stop = f"motley stop night -c {cluster.path}"
    assert [finding.remedy for finding in findings if stop not in finding.remedy] == []
    assert "run 'night' is at work there" in findings[1].cause
    await session.stop("the test ends")


def test_every_check_there_is_has_been_shown_to_fire_and_is_documented() -> None:
    assert len(CASES) >= 20
    assert sum(not case.stand_in for case in CASES) >= 20
    in_the_lab = {case.check for case in test_lab.CASES} | {"leader"}
    with_gpus = {"backend"}  # of several hosts: test_judge_backend.py
    when_asked = {"train"}  # tests/remote/launch/test_trial.py
    at_a_start = {"push"}  # tests/remote/launch/test_push_refused.py
    of_a_login_node = {"slurm"}  # tests/remote/placement/test_slurm_check.py
    of_laptops = {"power"}  # test_power.py
    elsewhere = (
        in_the_lab | with_gpus | when_asked | of_laptops | at_a_start | of_a_login_node | {"libraries"}
    )  # test_judge_language_models.py
    assert {case.check for case in CASES} | elsewhere == set(CHECKS)
    page = (Path(__file__).parents[3] / "docs/check.md").read_text(encoding="utf-8")
    assert page == check_names.page(), "out of date: python -m motley.remote.preflight.check_names > docs/check.md"


def commands(remedy: str) -> list[str]:
    """The commands in a remedy, each from its first word on."""
    starts = r"(?:^|: |\()((?:ssh|ssh-keygen|ssh-copy-id|ssh-add|sudo|motley|kill|ip|ls|nvidia-smi|du|mv) .*)"
    return [
        match.rstrip(").") if match.count("(") < match.count(")") else match for match in re.findall(starts, remedy)
    ]
