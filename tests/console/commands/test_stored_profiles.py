"""From figures of the hosts to profiles on the master, and from those to what a run starts with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from motley.console.commands.stored_profiles import conditions, knows, profiles_of, relative_speed, store_of, task_key
from motley.console.view.answer_tables import profiles_text
from motley.profiles.store import differences
from motley.remote.config.cluster import Cluster
from motley.remote.config.load import load
from motley.remote.launch.calibrate import Calibrated, Measured
from motley.remote.preflight.probe import Gpu, Probe
from motley.trainer.contract.spec import Member

PROBE = Probe(
    python="3.11.2", executable="/usr/bin/python3", hostname="tower", system="Linux", machine="x86_64",
    home="/home/ada", boot_id="one", clock=1.0, torch="2.13.0", torch_build="CUDA 13.0",
    gpus=(Gpu(index=0, name="NVIDIA GeForce RTX 3070", total_mib=8192, free_mib=8000, driver="550.1"),),
    cpu_model="AMD Ryzen 7 5800X 8-Core Processor", cores=16, memory_mib=8000, disk_free_mib=50_000, unwritable="",
    server_address="192.168.0.7", address="192.168.0.7", interface="eth0", code=(),
)  # fmt: skip
RESULT: dict[str, Any] = {
    "device_name": "NVIDIA GeForce RTX 3070", "torch": "2.13.0", "threads": None, "thread_rates": [],
    "parameters": 66154, "gradient_bytes": 264616, "max_batch": 900, "sample_mib": 7.5, "global_batch": None,
    "timings": [
        {"batch": b, "compute_ms": 2 + 0.5 * b, "step_ms": 3 + 0.5 * b, "noise": 0.01, "steps": 30} for b in (16, 64)
    ],
}  # fmt: skip


@pytest.fixture(name="cluster")
def _cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / "cluster.toml"
    path.write_text('[cluster]\nname = "home"\n[[hosts]]\nname = "tower"\naddress = "tower"\n')
    return load(path)


def calibrated(link: dict[str, float] | None = None) -> Calibrated:
    member = Member(member=0, host="tower", local_rank=0, device="cuda:0")
    return Calibrated(measured=(Measured(member=member, probe=PROBE, result=RESULT, link=link),), findings=())


def test_a_run_after_a_profile_starts_from_it(cluster: Cluster) -> None:
    (profile,) = profiles_of(cluster, calibrated(), 5.0)
    store = store_of(cluster)
    store.write(profile)
    pace = knows(cluster, store)(cluster.hosts[0], "cuda:0", PROBE)
    assert pace.a_ms == pytest.approx(3.0, rel=0.02)  # the whole step, without waiting
    assert pace.c_ms == pytest.approx(0.5, rel=0.02)
    assert pace.pass_limit == 900


@pytest.mark.parametrize("changed", [{"torch": "2.14.0"}, {"hostname": "another"}])
def test_a_profile_of_another_machine_or_torch_is_not_used(cluster: Cluster, changed: dict[str, Any]) -> None:
    store = store_of(cluster)
    store.write(profiles_of(cluster, calibrated(), 5.0)[0])
    pace = knows(cluster, store)(cluster.hosts[0], "cuda:0", replace(PROBE, **changed))
    assert pace.a_ms is None
    assert pace.relative_speed is not None


def test_without_a_profile_the_names_of_the_devices_give_a_guess(cluster: Cluster) -> None:
    host = cluster.hosts[0]
    card, processor = relative_speed(host, "cuda:0", PROBE), relative_speed(host, "cpu", PROBE)
    assert card is not None
    assert processor is not None
    assert card > 5 * processor
    assert relative_speed(host, "cuda:3", PROBE) is None
    slower = replace(PROBE.gpus[0], index=1, name="NVIDIA GeForce GTX 1060")
    two = replace(PROBE, gpus=(*PROBE.gpus, slower))
    first, second, both = (relative_speed(host, device, two) or 0 for device in ("cuda:0", "cuda:1", "cuda:0+1"))
    assert second < both < first  # one computes after the other
    assert relative_speed(host, "cuda:0+1", PROBE) is None


def test_of_pictures_of_the_user_s_own_their_size_counts_too(cluster: Cluster) -> None:
    pictures = [
        load(cluster.path, ["run.task=mlp/image_folder", "data.path=/photos", f"data.image_size={size}"])
        for size in (64, 96)
    ]
    assert [*map(task_key, pictures)] == ["mlp/image_folder 64 px", "mlp/image_folder 96 px"]


def test_what_it_depends_on_is_kept_with_it(cluster: Cluster) -> None:
    (profile,) = profiles_of(cluster, calibrated({"mbit": 940.0, "latency_ms": 0.2}), 5.0)
    assert profile.conditions == conditions(cluster, cluster.hosts[0], PROBE)
    assert profile.conditions.machine == "tower"
    assert profile.link is not None
    assert profile.link.mbit == 940.0


def test_a_profile_of_a_script_s_loop_reaches_a_run_of_it(cluster: Cluster) -> None:
    script = cluster.path.parent / "train.py"
    script.write_text("import motley\nrun = motley.session()\n")
    loop = load(cluster.path, ['run.script="train.py"', 'run.args=["--lr", "a b"]'])
    assert task_key(loop) == "train.py --lr 'a b'"
    measured = calibrated().measured[0]
    measured = replace(measured, result={**RESULT, "global_batch": 96})
    (profile,) = profiles_of(loop, Calibrated(measured=(measured,), findings=()), 5.0)
    store = store_of(loop)
    store.write(profile)
    assert store.of_task(task_key(loop)) == (profile,)
    assert profile.global_batch == 96
    pace = knows(loop, store)(loop.hosts[0], "cuda:0", PROBE)
    assert pace.a_ms == pytest.approx(3.0, rel=0.02)
    script.write_text("print('no loop of ours')\n")
    plain = load(cluster.path, ['run.script="train.py"', 'run.args=["--lr", "a b"]'])
    assert knows(plain, store)(plain.hosts[0], "cuda:0", PROBE).a_ms is None


def test_of_a_task_of_the_user_s_own_the_parameters_count_too(cluster: Cluster) -> None:
    def own(*more: str) -> Cluster:
        return load(cluster.path, ["run.task=night.py:Night", *more])

    narrow, wide, plain = own("task.width=3", "task.deep=[1]"), own("task.width=64"), own()
    assert task_key(narrow) == 'night.py:Night {"deep": [1], "width": 3}'
    assert task_key(own("task.deep=[1]", "task.width=3")) == task_key(narrow)
    assert (task_key(plain), task_key(cluster)) == ("night.py:Night", "simple_cnn/digits")
    store = store_of(cluster)
    store.write(profiles_of(narrow, calibrated(), 5.0)[0])
    found = {key.run.task + str(key.task): knows(key, store)(key.hosts[0], "cuda:0", PROBE).a_ms for key in
             (narrow, wide, plain, cluster)}  # fmt: skip
    assert [known is not None for known in found.values()] == [True, False, False, False]
    (profile,) = store.of_task(task_key(narrow))
    assert profile.conditions == conditions(narrow, narrow.hosts[0], PROBE)


def test_the_number_of_threads_that_was_found_is_told_and_reaches_the_run(cluster: Cluster) -> None:
    rates = [{"threads": 1, "samples_per_s": 840.2}, {"threads": 2, "samples_per_s": 290.0}]
    found: dict[str, Any] = {**RESULT, "threads": 1, "thread_rates": rates}
    member = Member(member=0, host="tower", local_rank=0, device="cpu")
    measured = Measured(member=member, probe=PROBE, result=found, link=None)
    (profile,) = profiles_of(cluster, Calibrated(measured=(measured,), findings=()), 5.0)
    assert "· tower computes with 1 thread: 840 samples/s, with 2: 290" in profiles_text([profile]).splitlines()
    store = store_of(cluster)
    store.write(profile)
    assert knows(cluster, store)(cluster.hosts[0], "cpu", PROBE).threads == 1
    store.write(replace(profile, thread_rates=()))  # it was given, and may be given otherwise now
    assert knows(cluster, store)(cluster.hosts[0], "cpu", PROBE).threads is None


def test_the_table_fits_a_terminal_of_100_columns_and_names_what_matters(cluster: Cluster) -> None:
    text = profiles_text(profiles_of(cluster, calibrated({"mbit": 940.0, "latency_ms": 0.2}), 5.0))
    assert "940 Mbit/s" in text
    assert "1,829 at 64" in text
    assert "900 samples fit" in text
    assert max(map(len, text.splitlines())) <= 120


def test_how_many_fit_is_told_as_it_was_measured_and_is_no_limit_of_a_run_where_it_is_none(cluster: Cluster) -> None:
    (measured,) = calibrated().measured
    roomy = replace(measured, result={**RESULT, "max_batch": None, "fits_at_least": 512})
    (profile,) = profiles_of(cluster, Calibrated(measured=(roomy,), findings=()), 5.0)
    assert "at least 512 samples fit" in profiles_text([profile])
    store = store_of(cluster)
    store.write(profile)
    assert knows(cluster, store)(cluster.hosts[0], "cuda:0", PROBE).pass_limit is None
    store.write(replace(profile, max_batch=900, fits_at_least=None))
    assert knows(cluster, store)(cluster.hosts[0], "cuda:0", PROBE).pass_limit == 900


def test_a_profile_holds_for_how_a_step_is_computed(tmp_path: Path) -> None:
    (tmp_path / "cluster.toml").write_text('[[hosts]]\nname = "box1"\n')
    plain = load(tmp_path / "cluster.toml", ())
    mixed = load(tmp_path / "cluster.toml", ('run.precision="bf16"', "run.compile=true"))
    then, now = (conditions(cluster, cluster.hosts[0]) for cluster in (plain, mixed))
    assert differences(then, now) == "computed was fp32, now it is bf16, compiled"
