"""Metrics of a run for other programs: names, units, and what is left out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from motley.console.commands.serving.run_metrics import Metric, run_metrics
from motley.console.state.snapshot import HostView, RankView, Snapshot

RUNNING = Snapshot(
    phase="running",
    run="night",
    task="mlp/digits",
    policy="dynamic",
    leader="desktop",
    step=12,
    steps_total=200,
    loss=0.5,
    samples_per_s=640.0,
    step_ms=100.0,
    pace_ms=100.0,
    ranks=(
        RankView(member=0, host="desktop", device="cuda:0", share=0.5, wait_ms=10.0, step_ms=100.0, samples_per_s=320.0,
                 compute_ms=80.0, mem_mib=2.0, gpu_util=90.0),
        RankView(member=1, host="desktop", device="cuda:1", share=0.25, wait_ms=20.0, step_ms=100.0,
                 samples_per_s=160.0, compute_ms=70.0, mem_mib=1.0, gpu_util=70.0),
        RankView(member=2, host="laptop", device="cpu", active=False, share=None),
    ),
    hosts=(HostView(name="desktop"), HostView(name="laptop", link_up=False)),
)  # fmt: skip


def by_name(snapshot: Snapshot) -> dict[str, Metric]:
    return {metric.name: metric for metric in run_metrics(snapshot)}


def value(snapshot: Snapshot, name: str, *labels: tuple[str, str]) -> float:
    return dict(by_name(snapshot)[name].samples)[labels]


def test_figures_are_in_base_units() -> None:
    assert value(RUNNING, "motley_step") == 12
    assert value(RUNNING, "motley_step_seconds") == 0.1
    assert value(RUNNING, "motley_remaining_seconds") == pytest.approx(18.8)
    assert value(RUNNING, "motley_samples_per_second") == 640
    desktop = ("host", "desktop")
    assert value(RUNNING, "motley_host_share_ratio", desktop) == 0.75
    assert value(RUNNING, "motley_host_wait_ratio", desktop) == 0.1
    assert value(RUNNING, "motley_host_memory_bytes", desktop) == 2 * 2**20
    assert value(RUNNING, "motley_host_gpu_utilization_ratio", desktop) == 0.8
    assert value(RUNNING, "motley_host_compute_seconds", desktop) == 0.08
    assert value(RUNNING, "motley_host_connected", ("host", "laptop")) == 0
    assert value(RUNNING, "motley_host_ranks", ("host", "laptop")) == 0


def test_exactly_one_state_is_on() -> None:
    for snapshot, state in ((RUNNING, "running"), (replace(RUNNING, phase="ended", state="lost"), "lost")):
        on = [labels[0][1] for labels, one in by_name(snapshot)["motley_run_state"].samples if one]
        assert on == [state]


def test_what_is_not_known_is_left_out() -> None:
    names = by_name(Snapshot())
    assert "motley_loss" not in names
    assert "motley_host_share_ratio" not in names
    laptop = [labels for labels, _ in by_name(RUNNING)["motley_host_share_ratio"].samples]
    assert laptop == [(("host", "desktop"),)]
