"""What squeue, sbatch and scontrol print, and what is told of it."""

from __future__ import annotations

import pytest

from motley.remote.placement.slurm_queue import (
    addresses,
    as_they_began,
    named,
    refusal,
    restarts,
    rows,
    state_of,
    who_is_who,
)

RUNNING = """\
8+0|RUNNING|None|2026-11-23T20:52:49|fast[1-2]|motley-b1|fast[1-2];slow[1-2]
8+1|RUNNING|None|2026-11-23T20:52:49|slow1|motley-b1|fast[1-2];slow[1-2]
"""


def test_a_heterogeneous_job_has_a_row_for_each_component() -> None:
    first, second = rows(RUNNING)

    assert (first.job, first.group, second.job, second.group) == ("8", 0, "8", 1)
    assert second.nodes == "slow1"
    assert second.comment == "fast[1-2];slow[1-2]"
    assert state_of([first, second]).phase == "running"


def test_the_newest_job_of_a_name_counts() -> None:
    text = "3|CANCELLED|None|N/A||motley-a|(null)\n12|PENDING|Priority|N/A||motley-a|\n13|PENDING|None|N/A||motley-b|"

    assert [one.job for one in named(rows(text), "motley-a")] == ["12"]


def test_what_is_no_row_is_left_out() -> None:
    assert rows("slurm_load_jobs error: Invalid job id specified\n7_3|RUNNING|None|N/A|a|b|c\n\n|||") == []


@pytest.mark.parametrize(
    ("row", "phase", "says"),
    [
        (
            "5|PENDING|Resources|2026-11-23T21:37:23||motley-a|",
            "queued",
            "in the queue: Resources, nodes are in use; expected to start at 2026-11-23 21:37:23",
        ),
        ("5|PENDING|Priority|N/A||motley-a|", "queued", "in the queue: Priority, others come first"),
        (
            "5|PENDING|QOSGrpCpuLimit|N/A||motley-a|",
            "queued",
            "in the queue: QOSGrpCpuLimit, a limit of yours or of your account's: other jobs have to end first",
        ),
        (
            "5|PENDING|AssocMaxWallDurationPerJobLimit|N/A||motley-a|",
            "queued",
            "Slurm never starts it: AssocMaxWallDurationPerJobLimit",
        ),
        ("5|PENDING|QOSMaxNodePerUserLimit|N/A||motley-a|", "queued", "Slurm never starts it: QOSMaxNodePerUserLimit"),
        ("5|PENDING|BeginTime|N/A||motley-a|", "queued", "in the queue: BeginTime, it is not to begin yet"),
        ("5|PENDING|PartitionTimeLimit|N/A||motley-a|", "queued", "Slurm never starts it: PartitionTimeLimit"),
        ("5|CONFIGURING|None|N/A|a1|motley-a|", "queued", "Slurm starts its nodes: a1"),
        ("5|COMPLETING|None|N/A|a1|motley-a|", "running", "the job runs on a1"),
        ("5|PREEMPTED|None|N/A||motley-a|", "gone", "the job has ended: PREEMPTED"),
        ("5|TIMEOUT|TimeLimit|N/A||motley-a|", "gone", "the job has ended: TIMEOUT (TimeLimit)"),
    ],
)
def test_the_state_in_words(row: str, phase: str, says: str) -> None:
    state = state_of(rows(row))

    assert (state.phase, state.says) == (phase, says)
    assert bool(state.remedy) == (phase == "gone" or "never" in says)


def test_a_component_that_waits_has_the_others_wait() -> None:
    text = "8+0|PENDING|None|N/A||motley-b1|\n8+1|PENDING|Resources|2026-11-23T21:00:00||motley-b1|"

    assert state_of(rows(text)).says.startswith("in the queue: Resources, nodes are in use; expected")
    assert state_of([]).phase == "gone"


@pytest.mark.parametrize(
    ("said", "cause", "remedy"),
    [
        (
            "sbatch: error: invalid partition specified: nosuch\nsbatch: error: Batch job submission failed: Invalid "
            "partition name specified\n",
            "invalid partition specified: nosuch",
            "sinfo",
        ),
        (
            "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's "
            "size and/or time limits)",
            "Batch job submission failed: Job violates accounting/QOS policy",
            "sacctmgr show qos",
        ),
        ("sbatch: error: Invalid generic resource (gres) specification", "Invalid generic resource", "--gres"),
        ("sbatch: unrecognized option '--nosuch'", "sbatch: unrecognized option '--nosuch'", "sbatch --help"),
        ("", "sbatch ended without a word", "motley export slurm"),
    ],
)
def test_a_refusal_has_a_remedy(said: str, cause: str, remedy: str) -> None:
    found = refusal(said)

    assert found[0].startswith(cause)
    assert remedy in found[1]


def test_hosts_are_nodes_in_their_order() -> None:
    who = who_is_who([["fast-1", "fast-2"], ["slow"]], [["n7", "n9"], ["n2"]])

    assert who == {"fast-1": (0, "n7"), "fast-2": (0, "n9"), "slow": (1, "n2")}
    with pytest.raises(ValueError, match="other nodes"):
        who_is_who([["fast-1"]], [["n7", "n9"]])


def test_addresses_of_nodes() -> None:
    text = "NodeName=n7 Arch=x86_64 NodeAddr=10.0.0.7 NodeHostName=n7\nNodeName=n9 State=DOWN\n"

    assert addresses(text) == {"n7": "10.0.0.7", "n9": "n9"}


def test_who_is_who_stays_as_the_job_began_and_is_anew_where_it_began_anew() -> None:
    assert as_they_began([["a1", "a2"], ["b1"]], [["a2"], ["b1"]]) == [["a1", "a2"], ["b1"]]
    assert as_they_began([["a1"], ["b1"]], [["a2"], ["b1"]]) == [["a2"], ["b1"]]
    assert as_they_began([], [["a1"]]) == [["a1"]]


def test_how_often_a_job_was_started_once_more_is_said_by_its_first_component() -> None:
    said = "JobId=12 HetJobId=11 HetJobOffset=1 Requeue=1 Restarts=0\nJobId=11 HetJobId=11 Requeue=1 Restarts=2 Batch=1"

    assert restarts(said, "11") == 2
    assert restarts(said, "13") == restarts("slurm_load_jobs error: Invalid job id specified", "11") == 0
