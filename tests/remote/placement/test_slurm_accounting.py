"""Figures of a job for the summary, from what sacct prints."""

from __future__ import annotations

import pytest

from motley.remote.placement.slurm_accounting import figures, is_off, is_settled

TWO_STARTS = """\
12+0|REQUEUED|120|01:30.250||fast[1-2]
12+0.batch|CANCELLED|120|00:00.100|3456K|fast1
12+0.0|CANCELLED|119|01:30.000|1.5G|fast[1-2]
12+1|REQUEUED|120|00:30.000||slow1
12+0|CANCELLED by 0|60|1-02:00:01||fast[1-2]
12+0.0|CANCELLED|58|00:40.000|900M|fast[1-2]
12+1|CANCELLED by 0|60|00:10.000||slow2
12+1.0|CANCELLED|58|00:10.000|524288K|slow2
"""


def test_each_component_over_all_starts_of_the_job() -> None:
    fast, slow = figures(TWO_STARTS)

    assert fast == {
        "group": 0, "nodes": "fast[1-2]", "state": "CANCELLED", "starts": 2, "elapsed_s": 180,
        "cpu_s": 90.25 + 26 * 3600 + 1, "max_rss_mib": 1536.0,
    }  # fmt: skip
    assert (slow["group"], slow["nodes"], slow["max_rss_mib"]) == (1, "slow2", 512.0)


def test_an_ordinary_job_of_which_nobody_counts_memory() -> None:
    assert figures("7|COMPLETED|5|00:01.000||n1\n7.0|COMPLETED|5|00:01.000||n1\n") == [
        {
            "group": 0,
            "nodes": "n1",
            "state": "COMPLETED",
            "starts": 1,
            "elapsed_s": 5,
            "cpu_s": 1.0,
            "max_rss_mib": None,
        }
    ]


@pytest.mark.parametrize(("text", "settled"), [("", False), ("7|RUNNING|5|||n1", False), ("7|TIMEOUT|5|||n1", True)])
def test_an_end_comes_to_the_accounts_a_little_later(text: str, settled: bool) -> None:
    assert is_settled(figures(text)) == settled


def test_what_is_none_of_it_is_left_out() -> None:
    assert figures("sacct: odd\n\n7|COMPLETED\n") == []
    assert is_off("Slurm accounting storage is disabled\n")
    assert not is_off("sacct: error: slurm_persist_conn_open_without_init: failed to open persistent connection")
