"""A job that is waited for, taken and found: whose it is to cancel, answers that do not come, some of its hosts."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from motley.remote.config.cluster import Cluster, SlurmOptions
from motley.remote.config.load import load
from motley.remote.errors import CommandFailed, RunFailed, UsageError
from motley.remote.hosts.login_node import LoginNode, login_node
from motley.remote.placement import slurm_asking, slurm_commands
from motley.remote.placement.slurm_job import SlurmJob
from motley.remote.ssh.dial import Dialer
from tests.remote.placement.stand_in_slurm import JOB, StandInSlurm

CLASSES = """\
[cluster]
connect = "slurm"
leader = "slow"
[[hosts]]
name = "fast"
nodes = 2
[[hosts]]
name = "slow"
[slurm]
requeue = true
"""
OTHERS = "7"  # a job that somebody else has submitted


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandInSlurm:
    return StandInSlurm(tmp_path, monkeypatch)


def cluster(folder: Path, *only: str) -> Cluster:
    (folder / "cluster.toml").write_text(CLASSES)
    return load(folder / "cluster.toml", only=only)


async def test_a_job_of_its_own_is_waited_for_and_given_back_when_the_start_fails(
    slurm: StandInSlurm, tmp_path: Path
) -> None:
    slurm.queue("", slurm.row("PENDING"), slurm.row("RUNNING", nodes="n1"))
    job, said = SlurmJob(cluster(tmp_path, "slow"), "night"), list[str]()

    placed = await job.place(said.append)

    assert [(host.name, host.slurm.node) for host in placed.hosts if host.slurm] == [("slow", "n1")]
    assert await job.abandon(said.append) == ""
    assert slurm.cancelled == [JOB]


@pytest.mark.parametrize("state", ["PENDING", "RUNNING"])
async def test_a_start_that_fails_cancels_no_job_that_was_there_before(
    slurm: StandInSlurm, tmp_path: Path, state: str
) -> None:
    slurm.queue(slurm.row(state, nodes="n1", job=OTHERS), slurm.row("RUNNING", nodes="n1", job=OTHERS))
    job, said = SlurmJob(cluster(tmp_path, "slow"), "night"), list[str]()
    await job.place(said.append)

    assert await job.abandon(said.append) == ""

    assert slurm.cancelled == []
    assert not [call for call in slurm.calls if call.startswith("sbatch")]
    assert f"job {OTHERS}: it was there before this start, and is left as it is; scancel {OTHERS} ends it" in said
    assert await job.end(said.append) == ""  # of a run that was started there it is the end
    assert slurm.cancelled == [OTHERS]


@pytest.mark.parametrize("comment", ["", "motley:slow:n1"])
async def test_a_start_with_another_cluster_toml_cancels_nothing(
    slurm: StandInSlurm, tmp_path: Path, comment: str
) -> None:
    slurm.queue(slurm.row("RUNNING", nodes="n1", job=OTHERS, comment=comment))

    with pytest.raises(UsageError, match=f"job {OTHERS} was not made from this cluster.toml"):
        await SlurmJob(cluster(tmp_path), "night").place(lambda _: None)

    assert slurm.cancelled == []


async def test_waiting_for_another_s_job_is_given_up_without_cancelling_it(slurm: StandInSlurm, tmp_path: Path) -> None:
    slurm.queue(slurm.row("PENDING", job=OTHERS))
    waits = asyncio.Event()
    place = asyncio.ensure_future(
        SlurmJob(cluster(tmp_path), "night").place(lambda text: waits.set() if "in the queue" in text else None)
    )
    await waits.wait()

    place.cancel()

    with pytest.raises(asyncio.CancelledError):
        await place
    assert slurm.cancelled == []


async def test_a_job_whose_nodes_have_a_run_is_not_taken_for_a_start(slurm: StandInSlurm, tmp_path: Path) -> None:
    slurm.queue(slurm.row("RUNNING", nodes="n1", job=OTHERS))
    slurm.has_run("slow")

    with pytest.raises(UsageError, match=rf"job {OTHERS} .*run 'night' on slow: `motley attach night` follows it, or"):
        await SlurmJob(cluster(tmp_path, "slow"), "night").place(lambda _: None)

    assert slurm.cancelled == []


async def test_a_look_at_the_queue_that_fails_costs_no_waiting(slurm: StandInSlurm, tmp_path: Path) -> None:
    slurm.queue("", slurm.row("PENDING"), slurm.row("RUNNING", nodes="n1"))
    said = list[str]()

    def hear(text: str) -> None:
        said.append(text)
        if "in the queue" in text:
            slurm.fails(3)

    await SlurmJob(cluster(tmp_path, "slow"), "night").place(hear)

    told = [line for line in said if "answer" in line]
    why = "squeue failed: slurm_load_jobs: Socket timed out on send/recv operation"
    assert told == [f"job {JOB}: no answer, it is asked again: {why}", f"job {JOB}: Slurm answers again"]
    assert slurm.cancelled == []


async def test_where_slurm_is_silent_for_long_the_job_is_left_and_that_is_said(
    slurm: StandInSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slurm.queue("", slurm.row("PENDING"))
    monkeypatch.setattr(slurm_asking, "SILENT_S", 0.0)

    def hear(text: str) -> None:
        if "in the queue" in text:
            slurm.fails(-1)  # for ever

    with pytest.raises(RunFailed, match="no answer for 0 minutes: squeue failed") as error:
        await SlurmJob(cluster(tmp_path), "night").place(hear)

    assert f"The job is not cancelled: `motley run --name night` waits for it again, scancel {JOB}" in str(error.value)
    assert slurm.cancelled == []


async def test_who_watches_does_not_end_by_a_look_that_fails(slurm: StandInSlurm, tmp_path: Path) -> None:
    slurm.queue(slurm.row("RUNNING", nodes="n1"))
    job, said = SlurmJob(cluster(tmp_path, "slow"), "night"), list[str]()
    await job.found(said.append)
    slurm.fails(2)
    slurm.queue(slurm.row("RUNNING", nodes="n1"), slurm.row("PENDING"), slurm.row("RUNNING", nodes="n2"))

    again = await job.again(said.append)

    assert again is not None
    assert [host.slurm.node for host in again.hosts if host.slurm] == ["n2"]
    assert f"job {JOB}: requeued by Slurm" in said


async def test_one_question_that_is_no_waiting_fails_at_once(slurm: StandInSlurm, tmp_path: Path) -> None:
    slurm.fails(-1)

    with pytest.raises(CommandFailed, match="squeue failed"):
        await SlurmJob(cluster(tmp_path), "night").found(lambda _: None)


async def test_a_job_of_some_hosts_is_found_by_a_console_with_all(slurm: StandInSlurm, tmp_path: Path) -> None:
    slurm.queue(slurm.row("RUNNING", nodes="n1,n2", comment="motley:fast-[1-2]:n1,n2"))

    found = await SlurmJob(cluster(tmp_path), "night").found(lambda _: None)

    assert [(host.name, host.slurm.node) for host in found.hosts if host.slurm] == [("fast-1", "n1"), ("fast-2", "n2")]
    assert (found.leader, [host.slurm.group for host in found.hosts if host.slurm]) == ("fast-1", [None, None])


@pytest.mark.parametrize("comment", ["n1,n2;n3", "motley:fast-[1-2];slow:n1,n2;n3"])
async def test_one_of_all_hosts_is_found_with_and_without_their_names_noted(
    slurm: StandInSlurm, tmp_path: Path, comment: str
) -> None:
    rows = [slurm.row("RUNNING", nodes=nodes, job=f"{JOB}+{n}") for n, nodes in enumerate(["n1", "n3"])]
    slurm.queue("".join([rows[0].replace("|\n", f"|{comment}\n"), rows[1]]))  # n2 is lost

    found = await SlurmJob(cluster(tmp_path), "night").found(lambda _: None)

    assert [host.slurm.node for host in found.hosts if host.slurm] == ["n1", "", "n3"]
    assert found.leader == "slow"


@pytest.mark.parametrize("hosts", ["big", "fast-[1-3]", "fast-[1-2];fast-[1-2]", "fast-[0-99999999999]"])
async def test_hosts_that_this_cluster_toml_does_not_have(slurm: StandInSlurm, tmp_path: Path, hosts: str) -> None:
    slurm.queue(slurm.row("RUNNING", nodes="n1,n2", comment=f"motley:{hosts}:n1,n2"))

    with pytest.raises(UsageError, match="was not made from this cluster.toml: it has the hosts"):
        await SlurmJob(cluster(tmp_path), "night").found(lambda _: None)


async def test_a_way_to_the_login_node_that_is_lost_is_opened_anew(
    slurm: StandInSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slurm.queue("", slurm.row("PENDING"), slurm.row("RUNNING", nodes="n1"))
    opened: list[LoginNode] = []
    closing: list[asyncio.Future[None]] = []

    async def counted(options: SlurmOptions, name: str, dialer: Dialer) -> LoginNode:
        opened.append(await login_node(options, name, dialer))
        return opened[-1]

    def hear(text: str) -> None:
        if "in the queue" in text:
            closing.append(asyncio.ensure_future(opened[-1].close()))

    monkeypatch.setattr(slurm_commands, "login_node", counted)

    await SlurmJob(cluster(tmp_path, "slow"), "night").place(hear)

    assert (len(opened), len(closing)) == (2, 1)
    assert slurm.cancelled == []
