"""Measuring a cluster of demo hosts: real connections and a real network, but steps that nobody computes."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from motley.console.commands.profile import broken_off, measure
from motley.console.commands.stored_profiles import store_of
from motley.profiles.store import LinkSpeed, Profile
from motley.remote.config.load import load
from motley.remote.errors import CheckFailed, ConfigError
from motley.remote.feed import Progress
from motley.remote.hosts.pool import Emit, Hosts
from motley.remote.launch import calibrate as module
from motley.remote.launch.calibrate import Calibrated, calibrate
from motley.remote.provision.push_code import Tree
from tests.remote.stage import Seen, Stage, stand_in_tree


@pytest.fixture(scope="module", name="tree")
def _tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    root = tmp_path_factory.mktemp("tree")
    stand_in_tree(root)
    stand_in = root / "motley/trainer/verbs/calibrate.py"
    assert stand_in.is_file()
    shutil.copy(Path(__file__).parents[1] / "stand_in_calibrate.py", stand_in)
    return Tree.of(root)


async def calibrated(stage: Stage, tree: Tree, hosts: Mapping[str, str], emit: Emit) -> Calibrated:
    cluster = stage.cluster(hosts=hosts, LOG=str(stage.folder / "log"))
    async with Hosts(cluster) as connected:
        return await calibrate(connected, emit, tree)


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


def texts(seen: Seen, host: str) -> list[str]:
    return [r.text for r in seen.records if isinstance(r, Progress) and (r.host, r.stage) == (host, "measure")]


async def test_every_device_and_every_way_to_the_leader_is_measured(stage: Stage, tree: Tree) -> None:
    seen = Seen()
    found = await calibrated(stage, tree, {"box0": "speed = 0.5", "box1": "max_batch = 64", "box2": ""}, seen)
    assert found.findings == ()
    assert [(m.member.host, m.member.device) for m in found.measured] == [(f"box{n}", "cpu") for n in range(3)]
    assert [m.probe.boot_id for m in found.measured] == [found.measured[0].probe.boot_id] * 3
    for measured in found.measured:
        assert measured.result["gradient_bytes"] == 264616
        assert measured.result["timings"] == [
            {"batch": 256, "compute_ms": 4.0, "step_ms": 5.0, "noise": 0.02, "steps": 6}
        ]
    names = [m.result["device_name"] for m in found.measured]
    assert names == ["0.5, True, 1, None", "1.0, True, 1, 64", "1.0, True, 1, None"]  # as they will train
    leader, *others = found.measured
    assert leader.link is None
    for measured in others:
        assert measured.link is not None
        assert measured.link["mbit"] > 0
        assert measured.link["latency_ms"] > 0
    assert "cpu: loading data" in texts(seen, "box0")  # without the escape
    assert texts(seen, "box0")[-1].startswith("cpu measured (1 of 3 measured, about ")
    assert texts(seen, "box1")[0] == "cpu: waits for box0 cpu: one machine measures one device at a time"
    assert texts(seen, "box2")[-1].endswith("ms to the leader")
    assert left(stage) == []


async def test_hosts_on_one_machine_take_turns_with_the_environment_and_the_data_of_a_run(
    stage: Stage, tree: Tree
) -> None:
    stage.cluster(hosts={"box0": 'requirements = "none.txt"', "box1": "", "box2": ""}, LOG=str(stage.folder / "log"))
    (stage.folder / "none.txt").write_text("")
    (stage.folder / "pictures").mkdir()
    (stage.folder / "pictures" / "one").write_text("1")
    path = stage.folder / "cluster.toml"
    path.write_text(f'[data]\npush = "pictures"\n{path.read_text()}')
    async with Hosts(load(path)) as hosts:
        found = await calibrate(hosts, seen := Seen(), tree)
    assert found.findings == ()
    assert (stage.folder / "log").read_text().split() == ["begin", "end"] * 3
    told = [text for host in ("box0", "box1", "box2") for text in texts(seen, host) if "data ~/.motley/data/" in text]
    assert ["/.motley/env/" in text for text in told] == [True, False, False]


async def test_a_task_of_the_user_s_own_is_on_every_host_that_measures_it(stage: Stage, tree: Tree) -> None:
    stage.cluster(LOG=str(stage.folder / "log"))
    own = ["run.task=tasks/night.py:Night", "task.width=3"]
    cluster = load(stage.folder / "cluster.toml", own)
    async with Hosts(cluster) as hosts:
        with pytest.raises(ConfigError, match=r"run\.task: there is no file"):
            await calibrate(hosts, Seen(), tree)
    (stage.folder / "tasks").mkdir()
    (stage.folder / "tasks/night.py").write_text("mine\n")
    async with Hosts(cluster) as hosts:
        found = await calibrate(hosts, seen := Seen(), tree)
    assert found.findings == ()
    for host in ("box0", "box1"):
        assert "cpu: night.py is mine, {'width': 3}" in texts(seen, host)


@pytest.mark.parametrize(
    ("what", "cause", "remedy"),
    [
        ("fail", "cpu: digits: not found", "Put it there."),
        ("die", "cpu could not be measured; it said: bus error", "Report this."),
        ("hang", "cpu: the host said nothing for 0.6 s", "The machine may be overloaded; try again."),
        ("lie", "cpu: its figures can't be used: timings.step_ms", "Report this."),
    ],
)
async def test_a_host_that_can_t_be_measured_is_a_finding_and_the_others_are(
    stage: Stage, tree: Tree, monkeypatch: pytest.MonkeyPatch, what: str, cause: str, remedy: str
) -> None:
    bad = "box2" if what == "hang" else "box1"  # the last one to hang: the others have the time that they need
    running: list[str] = []

    def look(record: Progress) -> None:
        seen(record)
        if record.text == "cpu: loading data":
            running.extend(left(stage))
            if record.host == bad:
                (stage.folder / "log.seen").touch()
            if what == "hang" and record.host == bad:
                monkeypatch.setattr(module, "SILENT_S", 0.6)

    seen = Seen()
    log = f'STAND_IN_LOG = "{stage.folder / "log"}"'
    hosts = {"box0": "", "box1": "", "box2": "", bad: f'env = {{STAND_IN_DOES = "{what}", {log}}}'}
    found = await calibrated(stage, tree, hosts, look)
    assert any("motley.trainer calibrate" in words for words in running)
    assert [m.member.host for m in found.measured] == [host for host in hosts if host != bad]
    (finding,) = found.findings
    assert (finding.host, finding.check, finding.level) == (bad, "calibrate", "error")
    assert finding.cause.startswith(cause)
    assert finding.remedy == remedy
    assert any(r.failed and r.text == finding.cause for r in seen.records if isinstance(r, Progress))
    assert left(stage) == []


async def test_what_is_measured_is_kept_when_the_rest_is_broken_off(stage: Stage, tree: Tree) -> None:
    log = f'STAND_IN_LOG = "{stage.folder / "log"}"'
    hosts = {"box0": "", "box1": f'env = {{STAND_IN_DOES = "hang", {log}}}', "box2": ""}
    cluster = stage.cluster(hosts=hosts, LOG=str(stage.folder / "log"))
    kept: list[Profile] = []
    seen = Seen()
    measuring = asyncio.ensure_future(measure(cluster, seen, kept.append, tree))
    await seen.until(lambda record: isinstance(record, Progress) and record.text.startswith("cpu measured"))
    measuring.cancel()
    with pytest.raises(asyncio.CancelledError):
        await measuring
    assert [profile.host for profile in kept] == ["box0"]
    assert [profile.host for profile in store_of(cluster).of_task(cluster.run.task)] == ["box0"]
    assert broken_off(cluster, kept).startswith(
        "interrupted: 1 of 3 hosts measured and kept (box0). To measure the rest: motley profile -c "
    )
    assert left(stage) == []


async def test_a_link_that_an_earlier_profile_knew_stays_until_it_is_measured_anew(stage: Stage, tree: Tree) -> None:
    cluster = stage.cluster(hosts={"box0": "", "box1": "", "box2": ""}, LOG=str(stage.folder / "log"))

    async def broken_off_before_the_links() -> list[Profile]:
        kept: list[Profile] = []
        seen = Seen()
        measuring = asyncio.ensure_future(measure(cluster, seen, kept.append, tree))
        await seen.until(lambda record: isinstance(record, Progress) and "3 of 3 measured" in record.text)
        measuring.cancel()
        with pytest.raises(asyncio.CancelledError):
            await measuring
        return kept

    first = await broken_off_before_the_links()
    assert [profile.link for profile in first] == [None] * 3
    link = LinkSpeed(mbit=940.0, latency_ms=0.2)
    store_of(cluster).write(replace(first[1], link=link))
    assert [profile.link for profile in await broken_off_before_the_links()] == [None, link, None]


async def test_a_network_that_can_t_be_measured_leaves_the_rest_and_is_said_once(
    stage: Stage, tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LINK_S", 0.001)
    found = await calibrated(stage, tree, {"box0": "", "box1": "", "box2": ""}, Seen())
    assert [(m.member.host, m.link) for m in found.measured] == [("box0", None), ("box1", None), ("box2", None)]
    (finding,) = found.findings
    assert (finding.host, finding.check, finding.level) == ("box0", "link", "warning")
    assert left(stage) == []


async def test_one_host_alone_needs_no_network(stage: Stage, tree: Tree) -> None:
    found = await calibrated(stage, tree, {"box0": ""}, Seen())
    assert found.findings == ()
    assert [m.link for m in found.measured] == [None]


async def test_a_cluster_that_is_not_in_order_is_not_measured(stage: Stage, tree: Tree) -> None:
    with pytest.raises(CheckFailed, match="box1"):
        await calibrated(stage, tree, {"box0": "", "box1": 'python = "/no/python"'}, Seen())
    assert not (stage.folder / "log").exists()
