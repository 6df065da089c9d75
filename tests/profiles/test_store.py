"""Profiles on disk: what was measured comes back, what does not hold or can't be read is refused with words."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from motley.profiles.store import Conditions, LinkSpeed, Profile, ProfileError, Store, ThreadRate, Timing, differences

ROW = {"batch": 8, "compute_ms": 4.0, "step_ms": 5.0, "noise": 0.01, "steps": 30}
NOW = Conditions(task="simple_cnn/digits", norm="batch", optimizer="sgd", torch="2.13.0", machine="tower")


def timing(batch: int, a: float = 3.0, c: float = 0.5) -> Timing:
    return Timing(batch=batch, compute_ms=a + c * batch, step_ms=a + 1 + c * batch, noise=0.02, steps=60)


def profile(host: str = "tower", device: str = "cuda:0", conditions: Conditions = NOW, **changes: Any) -> Profile:
    made = Profile(
        host=host, device=device, device_name="NVIDIA GeForce RTX 3070", conditions=conditions,
        timings=(timing(16), timing(32), timing(64), timing(128)), parameters=66154, gradient_bytes=264616,
        max_batch=900, sample_mib=7.5, link=LinkSpeed(mbit=941.0, latency_ms=0.2), time=1.7e9,
    )  # fmt: skip
    return replace(made, **changes)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "profiles" / "home")


def test_what_was_written_is_read(store: Store) -> None:
    tried = (ThreadRate(threads=1, samples_per_s=840.0), ThreadRate(threads=2, samples_per_s=290.0))
    on_cpu = profile(device="cpu", max_batch=None, sample_mib=None, link=None, threads=1, thread_rates=tried)
    roomy = profile(device="cuda:1", max_batch=None, fits_at_least=1024)
    for each in (profile(), on_cpu, roomy):
        path = store.write(each)
        assert store.read(each.host, each.device, NOW.task) == each
        assert path.parent == store.folder
    assert [p.name.count("tower") for p in store.folder.iterdir()] == [1, 1, 1]  # three files, nothing beside them


def test_a_file_of_before_there_were_all_figures_still_holds(store: Store) -> None:
    path = store.write(profile())
    table = json.loads(path.read_text())
    del table["threads"], table["thread_rates"], table["fits_at_least"]
    path.write_text(json.dumps(table))
    assert store.find("tower", "cuda:0", NOW).profile == profile()


def test_a_most_that_was_never_reached_is_none(store: Store) -> None:
    path = store.write(profile())
    path.write_text(json.dumps({**json.loads(path.read_text()), "max_batch": 1_000_000}))
    assert store.find("tower", "cuda:0", NOW).profile == profile(max_batch=None)


def test_a_newer_profile_takes_the_place_of_the_older(store: Store) -> None:
    store.write(profile(time=1.0))
    store.write(profile(time=2.0))
    found = store.read("tower", "cuda:0", NOW.task)
    assert found is not None
    assert found.time == 2.0
    assert len(list(store.folder.iterdir())) == 1


def test_there_is_none_where_nothing_was_written(store: Store) -> None:
    assert store.read("tower", "cuda:0", NOW.task) is None
    assert store.of_task(NOW.task) == ()
    found = store.find("tower", "cuda:0", NOW)
    assert (found.profile, found.why) == (None, "tower cuda:0 was never calibrated with simple_cnn/digits")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"format": 2}, "its format is 2, this version reads 1"),
        ({"format": None}, "its format is None"),
        ({"gradient_bytes": "many"}, "gradient_bytes is str, not int"),
        ({"gradient_bytes": 0}, "gradient_bytes must be at least 1"),
        ({"max_batch": True}, "max_batch is bool"),
        ({"fits_at_least": 0}, "fits_at_least must be above 0"),
        ({"sample_mib": -1.0}, "sample_mib must be above 0"),
        ({"time": float("nan")}, "time is nan"),
        ({"time": 10**400}, "time is 1000"),
        ({"conditions": {"task": "x"}}, "conditions.norm is missing"),
        ({"timings": []}, "timings must be there"),
        ({"timings": [3]}, "timings is no table"),
        ({"timings": [{"batch": 4}]}, "timings.compute_ms is missing"),
        ({"timings": [{**ROW, "step_ms": 0.0}]}, "timings must be there, and above 0"),
        ({"timings": [{**ROW, "noise": 0.0}]}, "timings.noise must be above 0"),
        ({"link": {"mbit": 0, "latency_ms": 1.0}}, "link.mbit must be above 0"),
        ({"link": [1, 2]}, "link is list"),
        ({"threads": 0}, "threads and thread_rates must be above 0"),
        ({"thread_rates": [{"threads": 1, "samples_per_s": 0}]}, "threads and thread_rates must be above 0"),
        ({"thread_rates": [{"threads": 1}]}, "thread_rates.samples_per_s is missing"),
    ],
)
def test_a_damaged_field_is_named_with_the_file(store: Store, change: dict[str, Any], problem: str) -> None:
    path = store.write(profile())
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ProfileError) as caught:
        store.read("tower", "cuda:0", NOW.task)
    assert str(path) in str(caught.value)
    assert problem in str(caught.value)
    assert "motley profile" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"[1]", b"{", b"\xff\xfe\x00", b"[" * 100_000, b"null"])
def test_a_file_that_is_something_else_is_refused(store: Store, content: bytes) -> None:
    path = store.write(profile())
    path.write_bytes(content)
    with pytest.raises(ProfileError, match=path.name):
        store.read("tower", "cuda:0", NOW.task)
    found = store.find("tower", "cuda:0", NOW)
    assert found.profile is None
    assert str(path) in found.why
    store.write(profile())  # measuring again mends it
    assert store.find("tower", "cuda:0", NOW).profile == profile()


def test_a_file_that_can_t_be_read_stops_no_run(store: Store) -> None:
    path = store.path("tower", "cuda:0", NOW.task)
    path.mkdir(parents=True)
    assert (
        store.find("tower", "cuda:0", NOW).why == f"{path} can't be read: Is a directory; motley profile makes it anew"
    )
    assert store.of_task(NOW.task) == ()


def test_figures_that_could_not_be_read_again_are_not_written(store: Store) -> None:
    store.write(profile())
    with pytest.raises(ValueError, match="timings must be there"):
        store.write(profile(timings=()))
    with pytest.raises(ValueError, match="sample_mib is inf"):
        store.write(profile(sample_mib=float("inf")))
    assert store.read("tower", "cuda:0", NOW.task) == profile()
    assert len(list(store.folder.iterdir())) == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"norm": "group"}, "norm was batch, now it is group"),
        ({"optimizer": "adamw"}, "optimizer was sgd, now it is adamw"),
        ({"threads": 2}, "threads was not set, now it is 2"),
        ({"speed": 0.5}, "speed was not set, now it is 0.5"),
        ({"torch": "2.14.0"}, "torch was 2.13.0, now it is 2.14.0"),
        ({"machine": "laptop"}, "machine was tower, now it is laptop"),
        ({"norm": "group", "torch": "2.14.0"}, "norm was batch, now it is group, torch was 2.13.0, now it is 2.14.0"),
    ],
)
def test_a_profile_of_other_conditions_is_refused_with_words(store: Store, changes: dict[str, Any], words: str) -> None:
    store.write(profile())
    found = store.find("tower", "cuda:0", replace(NOW, **changes))
    assert found.profile is None
    assert found.why == f"the profile of tower cuda:0 does not hold any more: {words}"


def test_what_only_the_host_could_tell_is_not_held_against_a_profile(store: Store) -> None:
    store.write(profile())
    assert store.find("tower", "cuda:0", replace(NOW, torch=None, machine=None)).profile == profile()
    assert differences(replace(NOW, torch=None), NOW) == ""


def test_the_profiles_of_a_task_without_those_of_others(store: Store) -> None:
    other = replace(NOW, task="resnet18/cifar10")
    for each in (profile("tower", "cuda:1"), profile("box"), profile(), profile(conditions=other)):
        store.write(each)
    store.write(profile("bad")).write_text("{}")
    (store.folder / "notes.json").write_text("[]")
    assert [(p.host, p.device) for p in store.of_task(NOW.task)] == [
        ("box", "cuda:0"), ("tower", "cuda:0"), ("tower", "cuda:1"),
    ]  # fmt: skip
    assert [p.conditions for p in store.of_task(other.task)] == [other]


def test_names_that_are_no_file_names_stay_apart_and_inside(store: Store) -> None:
    names = ["../../up", "a/b", "a-b", "a--b", "", "x" * 500, "büro", "."]
    for name in names:
        store.write(profile(name))
    assert len(list(store.folder.iterdir())) == len(names)
    for name in names:
        found = store.read(name, "cuda:0", NOW.task)
        assert found is not None
        assert found.host == name
    assert store.path("a", "b--c", "t") != store.path("a--b", "c", "t")


def test_the_line_of_known_timings_is_recovered() -> None:
    """30 steps at each size, of which each scatters by 5 %, one in ten is held up, and the first sizes overlap."""
    rng = random.Random(1)
    a, c = 6.0, 0.4
    timings = []
    for batch in (8, 16, 32, 64):
        steps = [(a + c * batch) * rng.gauss(1, 0.05) * (3 if rng.random() < 0.05 else 1) for _ in range(90)]
        timings.append(Timing.of(batch, [x * 0.9 for x in steps], steps))
    found = profile(timings=tuple(timings))
    assert found.step_line.a == pytest.approx(a, rel=0.15)
    assert found.step_line.c == pytest.approx(c, rel=0.05)
    assert found.line.a == pytest.approx(a * 0.9, rel=0.15)
    assert found.line.c == pytest.approx(c * 0.9, rel=0.05)
    assert found.noise == pytest.approx(0.05, rel=0.4)


def test_one_size_alone_gives_a_line_through_it() -> None:
    line = profile(timings=(timing(32),)).step_line
    assert line.at(32).ms == pytest.approx(20.0, rel=0.01)


def test_a_step_that_was_held_up_hardly_counts_and_periods_of_a_quota_do() -> None:
    held_up = Timing.of(8, [10.0] * 19 + [500.0], [10.0] * 19 + [500.0])
    assert held_up.step_ms == 10.0
    quota = Timing.of(8, [5.0] * 10, [5.0, 45.0] * 5)  # every other step waits for the next period
    assert quota.step_ms == pytest.approx(25.0)
    with pytest.raises(ValueError, match="at least one step"):
        Timing.of(8, [], [])
