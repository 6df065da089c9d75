"""`motley plan` from stored profiles: what is planned with, what is said of the rest, and the three forms it takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from motley.console.commands.plan import plan_data, plan_text, planned
from motley.console.commands.stored_profiles import conditions, store_of
from motley.profiles.store import LinkSpeed, Profile, Timing
from motley.remote.config.cluster import Cluster
from motley.remote.config.load import load
from motley.remote.errors import UsageError

HOSTS = '[cluster]\nname = "home"\nleader = "box1"\n' + "".join(
    f'[[hosts]]\nname = "box{n}"\naddress = "box{n}"\n' for n in (1, 2, 3)
)


@pytest.fixture(name="folder")
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def cluster_of(folder: Path, more: str = "") -> Cluster:
    path = folder / "cluster.toml"
    path.write_text(HOSTS + more)
    return load(path)


def keep(cluster: Cluster, name: str, per_sample_ms: float, *, mbit: float | None = 1000.0, **changed: Any) -> None:
    host = next(h for h in cluster.hosts if h.name == name)
    timings = tuple(
        Timing(batch=b, compute_ms=per_sample_ms * b, step_ms=per_sample_ms * b + 1, noise=0.01, steps=30)
        for b in (32, 64, 128)
    )
    given = {
        "host": name, "device": "cpu", "device_name": "AMD EPYC", "conditions": conditions(cluster, host),
        "timings": timings, "parameters": 66154, "gradient_bytes": 264616, "max_batch": None, "sample_mib": None,
        "link": LinkSpeed(mbit=mbit, latency_ms=0.1) if mbit and name != "box1" else None, "time": 5.0,
    }  # fmt: skip
    store_of(cluster).write(Profile(**{**given, **changed}))


def test_a_policy_of_the_user_s_own_is_not_run_here_and_that_is_said(folder: Path) -> None:
    cluster = cluster_of(folder, '[balance]\npolicy = "mine.py"\n')
    keep(cluster, "box1", 1.0)
    advice = planned(cluster, store_of(cluster)).advice
    assert "mine.py runs on hosts only: here the split is the one that dynamic finds" in advice


def test_a_task_of_the_user_s_own_is_planned_by_its_own_profiles(folder: Path) -> None:
    own = cluster_of(folder, '[run]\ntask = "night.py"\n[task]\nwidth = 3\n')
    keep(own, "box1", 1.0)
    keep(own, "box2", 2.0)
    plan = planned(own, store_of(own))
    assert plan.take is not None
    assert any("box3: not measured yet" in text for text in plan.advice)
    wider = cluster_of(folder, '[run]\ntask = "night.py"\n[task]\nwidth = 4\n')
    with pytest.raises(UsageError, match=r"no profile to plan with for the task 'night\.py \{\"width\": 4\}'"):
        planned(wider, store_of(wider))


def test_the_loop_of_a_script_is_planned_with_its_own_batch_and_as_it_sends(folder: Path) -> None:
    """Its gradients are sent when backward is over, and never as fp16."""
    (folder / "train.py").write_text("import motley\nrun = motley.session()\n")
    own = cluster_of(folder, '[run]\nscript = "train.py"\nargs = ["--lr", "0.1"]\n')
    task = cluster_of(folder, "[run]\nglobal_batch = 128\n")
    for cluster in (own, task):
        batch = 128 if cluster is own else None
        for name in ("box1", "box2", "box3"):
            keep(cluster, name, 1.0, mbit=100.0, gradient_bytes=2_000_000, global_batch=batch)
    found, of_task = planned(own, store_of(own)), planned(task, store_of(task))
    assert {option.compress for option in found.options} == {"none"}
    assert {option.global_batch for option in found.options} == {128, 256, 512, 1024}
    all_hosts = [
        next(o for o in plan.options if len(o.hosts) == 3 and o.global_batch == 128 and o.compress == "none")
        for plan in (found, of_task)
    ]
    apart, overlapped = (option.prediction for option in all_hosts)
    assert apart.step_ms == pytest.approx(apart.busy_ms + apart.sending_ms, rel=0.02)
    assert overlapped.step_ms < apart.step_ms
    assert plan_text(found, found.take.global_batch).count("▶") == 1
    with pytest.raises(UsageError, match=r"no profile to plan with for the task 'train\.py --lr 0\.2'"):
        planned(load(own.path, ['run.script="train.py"', 'run.args=["--lr", "0.2"]']), store_of(own))


def test_a_loop_gets_no_more_samples_than_fit_at_once(folder: Path) -> None:
    (folder / "train.py").write_text("import motley\nrun = motley.session()\n")
    own = cluster_of(folder, '[run]\nscript = "train.py"\n')
    keep(own, "box1", 1.0, global_batch=128, max_batch=40)
    keep(own, "box2", 9.0, global_batch=128, max_batch=500)
    keep(own, "box3", 9.0, global_batch=128)
    plan = planned(own, store_of(own))
    both = next(o for o in plan.options if o.hosts == ("box1", "box2", "box3") and o.global_batch == 128)
    assert (both.prediction.shares[0], both.prediction.accumulate) == (40, 1)


def test_a_plan_counts_on_no_larger_pass_than_is_known_to_fit(folder: Path) -> None:
    cluster = cluster_of(folder, "[run]\nglobal_batch = 256\n")
    for known, passes in (({"max_batch": 100}, 3), ({"fits_at_least": 128}, 2), ({"fits_at_least": 2048}, 1), ({}, 1)):
        keep(cluster, "box1", 1.0, **known)
        assert planned(cluster, store_of(cluster)).take.prediction.accumulate == passes


def test_a_loop_may_get_more_than_was_seen_to_fit(folder: Path) -> None:
    """Where the most was not reached it is no bound: a loop can't take its samples in parts by itself."""
    (folder / "train.py").write_text("import motley\nrun = motley.session()\n")
    own = cluster_of(folder, '[run]\nscript = "train.py"\n')
    keep(own, "box1", 1.0, global_batch=128, fits_at_least=40)
    assert planned(own, store_of(own)).take.prediction.shares == (128,)


def test_the_plan_goes_from_profiles_to_the_object_that_programs_read(folder: Path) -> None:
    cluster = cluster_of(folder)
    for name, ms in (("box1", 1.0), ("box2", 2.0), ("box3", 4.0)):
        keep(cluster, name, ms)
    data = json.loads(json.dumps(plan_data(planned(cluster, store_of(cluster)))))
    assert set(data) == {"options", "advice"}
    for option in data["options"]:
        assert set(option) == {"hosts", "global_batch", "accumulate", "compress", "samples_per_s"}
    rates = [option["samples_per_s"] for option in data["options"]]
    assert rates == sorted(rates, reverse=True)
    configured = [o for o in data["options"] if o["global_batch"] == 256 and o["compress"] == "none"]
    assert configured[0]["hosts"] == ["box1", "box2", "box3"]
    assert configured[0]["samples_per_s"] == pytest.approx(1000 * (1 + 1 / 2 + 1 / 4), rel=0.06)
    assert data["advice"][0].startswith("take all 3 hosts: ")


def test_the_table_marks_the_option_to_take_and_leaves_out_what_gains_nothing(folder: Path) -> None:
    cluster = cluster_of(folder)
    for name, ms in (("box1", 1.0), ("box2", 2.0), ("box3", 4.0)):
        keep(cluster, name, ms)
    lines = plan_text(planned(cluster, store_of(cluster)), 256).splitlines()
    (marked,) = [line for line in lines if line.startswith("▶")]
    assert marked.endswith("box1 box2 box3")
    assert "fp16" not in "\n".join(lines)  # gradients of 0.3 MB
    assert max(map(len, lines)) <= 80


def test_hosts_without_a_profile_and_without_a_known_network_are_named(folder: Path) -> None:
    cluster = cluster_of(folder)
    keep(cluster, "box1", 1.0)
    keep(cluster, "box2", 2.0, mbit=None)
    plan = planned(cluster, store_of(cluster))
    assert (
        f"box3: not measured yet. To measure: motley profile --only box1 --only box3 -c {folder}/cluster.toml"
        in plan.advice
    )
    assert any("the network of box2 was not measured; 940 Mbit/s is assumed" in text for text in plan.advice)


def test_a_profile_of_another_norm_is_left_out_with_the_reason(folder: Path) -> None:
    keep(cluster_of(folder), "box1", 1.0)
    keep(cluster_of(folder), "box2", 1.0)
    changed = cluster_of(folder, '[run]\nnorm = "group"\n')
    with pytest.raises(UsageError, match="norm was batch, now it is group"):
        planned(changed, store_of(changed))


def test_without_profiles_the_next_command_is_named(folder: Path) -> None:
    cluster = cluster_of(folder)
    with pytest.raises(UsageError, match=r"'simple_cnn/digits': box1, box2, box3: not measured yet\. To measure"):
        planned(cluster, store_of(cluster))


def test_a_batch_that_no_hosts_have_room_for_is_an_error_that_says_by_how_much(folder: Path) -> None:
    path = folder / "cluster.toml"
    path.write_text(HOSTS.replace('address = "box1"\n', 'address = "box1"\nmax_batch = 10\n'))
    cluster = load(path)
    keep(cluster, "box1", 1.0)
    with pytest.raises(UsageError, match=r"run\.global_batch = 256 can't be shared out"):
        planned(cluster, store_of(cluster))


def test_memory_of_a_card_asks_for_passes(folder: Path) -> None:
    cluster = cluster_of(folder)
    keep(cluster, "box1", 1.0, max_batch=100)
    plan = planned(cluster, store_of(cluster))
    assert plan.take.prediction.accumulate == 3
