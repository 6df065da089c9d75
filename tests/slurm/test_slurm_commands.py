"""What else is asked of a cluster of Slurm's, while no run is there: check, profile, clean, export, another run that
goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.slurm.slurm import Slurm
from tests.slurm.test_slurm_runs import assert_given_back, cluster_toml, motley

pytestmark = pytest.mark.long


def test_check_asks_the_login_node_first_and_then_the_nodes_of_a_short_job(slurm: Slurm, tmp_path: Path) -> None:
    wrong = motley(slurm, "check", "-c", str(cluster_toml(slurm, tmp_path, steps=50, fast=5)), "--json")
    assert wrong.returncode == 3, wrong.stderr
    (found,) = json.loads(wrong.stdout)["findings"]
    assert (found["check"], found["cause"]) == ("slurm", "the partition fast has 2 nodes, 5 are asked for")
    assert "job" not in wrong.stderr

    right = motley(slurm, "check", "-c", str(cluster_toml(slurm, tmp_path, steps=50)), "--json")

    assert json.loads(right.stdout)["ok"], right.stderr
    assert "its nodes are given back" in right.stderr
    assert_given_back(slurm, "check")


def test_a_run_that_goes_on_with_what_another_has_left_and_what_is_kept_of_both(slurm: Slurm, tmp_path: Path) -> None:
    config = str(cluster_toml(slurm, tmp_path, steps=30))
    assert motley(slurm, "run", "-c", config, "--plain", "--name", "first").returncode == 0

    again = motley(
        slurm, "run", "-c", config, "--set", "run.steps=45", "--resume", "first", "--plain", "--name", "next"
    )

    assert again.returncode == 0, again.stderr
    assert "goes on from the newest checkpoint of 'first'" in again.stderr
    summary = json.loads(again.stdout)
    assert (summary["state"], summary["resumed_from"], summary["steps"]) == ("finished", "first", 45)
    assert "slurm" not in summary
    assert again.stderr.count("no figures of sacct for the summary: the cluster keeps no accounts") == 1

    weights = tmp_path / "next.safetensors"
    exported = motley(slurm, "export", "next", str(weights), "-c", config)
    assert exported.returncode == 0, exported.stderr
    assert weights.stat().st_size > 1000

    kept = motley(slurm, "clean", "-c", config, "--older", "0", "--json")
    assert kept.returncode == 0, kept.stderr
    assert {"first", "next"} <= {item["name"] for host in json.loads(kept.stdout)["hosts"] for item in host["items"]}
    assert_given_back(slurm, "next")


def test_profile_measures_the_nodes_of_a_short_job_and_a_plan_is_made_of_it(slurm: Slurm, tmp_path: Path) -> None:
    config = str(cluster_toml(slurm, tmp_path, steps=30))

    measured = motley(slurm, "profile", "-c", config, "--json", timeout_s=600.0)

    assert measured.returncode == 0, measured.stderr
    assert {row["host"] for row in json.loads(measured.stdout)["profiles"]} == {"fast-1", "fast-2", "slow"}
    plan = motley(slurm, "plan", "-c", config, "--json")
    assert json.loads(plan.stdout)["options"], plan.stderr
    assert_given_back(slurm, "profile")
