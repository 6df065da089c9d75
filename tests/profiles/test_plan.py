"""Predicted steps against sums done by hand, and what is recommended against trying everything."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motley.profiles import plan as planner
from motley.profiles.cost_line import Line
from motley.profiles.plan import EXHAUSTIVE, WORTH, make_plan, subsets
from motley.profiles.predict import BUCKET, EFFICIENCY, FIRST_BUCKET, FORWARD, Candidate, predict, ring_ms, summed_at_ms
from motley.profiles.split_solver import SplitError
from motley.profiles.store import LinkSpeed

MB = 1_000_000


def device(
    host: str, c_ms: float, *, a_ms: float = 0.0, rest_ms: float = 0.0, mbit: float | None = None, **more: int
) -> Candidate:
    link = None if mbit is None else LinkSpeed(mbit=mbit, latency_ms=0.0)
    line = Line(a_ms, c_ms, 0.0, 0.0, 0.0)
    step_line = Line(a_ms + rest_ms, c_ms, 0.0, 0.0, 0.0)
    return Candidate(host=host, device="cpu", line=line, step_line=step_line, link=link, **more)


def test_a_device_alone_sends_nothing() -> None:
    found = predict([device("box1", 2.0, a_ms=10.0, rest_ms=5.0)], 100, 25 * MB)
    assert found.step_ms == pytest.approx(10 + 200 + 5)
    assert found.samples_per_s == pytest.approx(100 / 0.215)
    assert found.sending_ms == 0.0


def test_a_ring_sends_every_byte_twice_but_for_one_part_in_n() -> None:
    two = [device("box1", 1.0), device("box2", 1.0, mbit=100.0)]
    assert ring_ms(two, 25 * MB) == pytest.approx(25 * 8 / (100 * EFFICIENCY) * 1000)
    four = [*two, device("box3", 1.0, mbit=1000.0), device("box4", 1.0, mbit=1000.0)]
    assert ring_ms(four, 25 * MB) == pytest.approx(1.5 * 25 * 8 / (100 * EFFICIENCY) * 1000)


def test_latency_counts_in_every_round() -> None:
    far = Candidate(
        host="box2", device="cpu", line=Line(0, 1, 0, 0, 0), step_line=Line(0, 1, 0, 0, 0),
        link=LinkSpeed(mbit=1e9, latency_ms=20.0),
    )  # fmt: skip
    assert ring_ms([device("box1", 1.0), far], 1000) == pytest.approx(2 * 20.0, rel=1e-3)


def test_two_cards_of_one_host_have_no_network_between_them() -> None:
    assert ring_ms([device("box1", 1.0), device("box1", 1.0)], 25 * MB) == 0.0
    with_other = [device("box1", 1.0, mbit=100.0), device("box1", 1.0, mbit=100.0), device("box2", 1.0)]
    assert ring_ms(with_other, 3 * MB) == pytest.approx(4 / 3 * 3 * 8 / (100 * EFFICIENCY) * 1000)


def test_buckets_are_sent_while_backward_goes_on() -> None:
    members = [device("box1", 1.0), device("box2", 1.0, mbit=800.0)]
    one = ring_ms(members, BUCKET)
    total = FIRST_BUCKET + 2 * BUCKET
    long = 100 * one  # computing takes so long that only the last bucket is left to send
    assert summed_at_ms(long, members, total) == pytest.approx(long + one)
    short = one / 1000  # hardly any computing: everything is sent after the first bucket is ready
    ready = short * (FORWARD + (1 - FORWARD) * FIRST_BUCKET / total)
    assert summed_at_ms(short, members, total) == pytest.approx(ready + ring_ms(members, total), rel=1e-3)
    small = MB // 4  # one bucket: no overlap at all
    assert summed_at_ms(50.0, members, small) == pytest.approx(50.0 + ring_ms(members, small))


def test_what_does_not_fit_into_memory_is_computed_in_passes_that_each_cost() -> None:
    found = predict([device("box1", 1.0, a_ms=10.0, pass_limit=32)], 100, 0)
    assert found.accumulate == 4
    assert found.step_ms == pytest.approx(4 * 10 + 100)


def test_of_several_passes_only_the_last_one_hides_sending() -> None:
    members = [device("box1", 1.0, pass_limit=32), device("box2", 1.0, mbit=200.0, pass_limit=32)]
    sent = FIRST_BUCKET + BUCKET
    first, second = ring_ms(members, FIRST_BUCKET), ring_ms(members, BUCKET)
    assert 32 * (1 - FORWARD) < first < 128 * (1 - FORWARD)  # too long for one backward, short enough for four
    found = predict(members, 256, sent)
    assert found.accumulate == 4
    ready = 128 - 32 * (1 - FORWARD) * (1 - FIRST_BUCKET / sent)
    assert found.step_ms == pytest.approx(ready + first + second)


def test_compressed_buckets_are_as_many_and_half_as_long() -> None:
    far = Candidate(
        host="box2", device="cpu", line=Line(0, 1, 0, 0, 0), step_line=Line(0, 1, 0, 0, 0),
        link=LinkSpeed(mbit=1e9, latency_ms=20.0),
    )  # fmt: skip
    two = [device("box1", 1.0), far]
    size = FIRST_BUCKET + 2 * BUCKET  # three buckets either way, of two rounds each
    assert predict(two, 2, size, "none").step_ms == pytest.approx(3 * 2 * 20.0, rel=0.02)
    assert predict(two, 2, size, "fp16").step_ms == pytest.approx(3 * 2 * 20.0, rel=0.02)
    slow = [device("box1", 1.0), device("box2", 1.0, mbit=100.0)]
    assert predict(slow, 2, size, "fp16").sending_ms == pytest.approx(predict(slow, 2, size).sending_ms / 2)


@settings(max_examples=60, deadline=None)
@given(
    speeds=st.lists(st.floats(0.2, 20.0), min_size=2, max_size=4),
    slow=st.floats(10.0, 1000.0),
    factor=st.floats(1.0, 50.0),
    batch=st.integers(8, 512),
)
def test_a_faster_link_never_makes_a_step_longer(speeds: list[float], slow: float, factor: float, batch: int) -> None:
    def step(mbit: float) -> float:
        first, *others = speeds
        members = [device("box0", first), *(device(f"box{i}", c, mbit=mbit) for i, c in enumerate(others, 1))]
        return predict(members, batch, 25 * MB).step_ms

    assert step(slow * factor) <= step(slow) * (1 + 1e-9)


@settings(max_examples=40, deadline=None)
@given(
    hosts=st.lists(st.tuples(st.floats(0.2, 20.0), st.floats(20.0, 10_000.0)), min_size=1, max_size=4),
    batch=st.integers(8, 300),
    size=st.integers(0, 60 * MB),
)
def test_the_recommended_hosts_are_those_that_trying_every_subset_finds(
    hosts: list[tuple[float, float]], batch: int, size: int
) -> None:
    all_hosts = [device(f"box{i}", c, mbit=mbit if i else None) for i, (c, mbit) in enumerate(hosts)]
    every = [
        predict(chosen, batch, size).samples_per_s
        for count in range(1, len(hosts) + 1)
        for chosen in itertools.combinations(all_hosts, count)
    ]
    plan = make_plan(all_hosts, batch, size)
    assert plan.take.samples_per_s >= max(every) / WORTH
    rates = [option.samples_per_s for option in plan.options]
    assert rates == sorted(rates, reverse=True)


def test_of_many_hosts_the_useful_subsets_are_looked_at_and_no_more() -> None:
    hosts = [f"box{i}" for i in range(40)]
    found = list(subsets(hosts, {h: float(i + 1) for i, h in enumerate(hosts)}, dict.fromkeys(hosts, 1.0)))
    assert len(found) == len(set(found)) <= 3 * len(hosts)
    assert tuple(hosts) in found
    assert ("box38", "box39") in found


def test_of_many_hosts_several_behind_slow_links_are_left_out_together() -> None:
    hosts = [device("box0", 1.0), *(device(f"box{i}", 1.0 + i / 100, mbit=10_000.0) for i in range(1, 7))]
    slow = [device(f"far{i}", 0.9, mbit=20.0) for i in range(3)]  # computing faster than any other
    plan = make_plan([*hosts, *slow], 1024, 25 * MB)
    assert len(hosts) + len(slow) > EXHAUSTIVE
    assert plan.take.hosts == tuple(h.host for h in hosts)


@settings(max_examples=25, deadline=None)
@given(
    hosts=st.lists(
        st.tuples(st.floats(0.2, 20.0), st.sampled_from([20.0, 100.0, 1000.0, 10_000.0])), min_size=2, max_size=6
    ),
    batch=st.integers(64, 600),
    size=st.integers(0, 60 * MB),
)
def test_the_few_subsets_of_many_hosts_hold_one_nearly_as_fast_as_any(
    hosts: list[tuple[float, float]], batch: int, size: int
) -> None:
    devices = [device(f"box{i}", c, mbit=mbit if i else None) for i, (c, mbit) in enumerate(hosts)]
    by_host = {d.host: d for d in devices}
    every = [
        predict(chosen, batch, size).samples_per_s
        for count in range(1, len(devices) + 1)
        for chosen in itertools.combinations(devices, count)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planner, "EXHAUSTIVE", 0)
        take = make_plan(devices, batch, size).take
    assert take.samples_per_s == pytest.approx(predict([by_host[h] for h in take.hosts], batch, size).samples_per_s)
    assert take.samples_per_s >= max(every) / (WORTH * 1.01)


def test_twelve_hosts_are_planned_with_few_predictions(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def counted(*args: Any) -> Any:
        asked.append(args)
        return predict(*args)

    monkeypatch.setattr(planner, "predict", counted)
    links = (100.0, 1000.0, 10_000.0)
    make_plan([device(f"box{i}", 1.0 + i, mbit=links[i % 3] if i else None) for i in range(12)], 512, 25 * MB)
    assert 0 < len(asked) < 500


# 100 Mbit/s and 25 MB of gradients: four hosts of 0.8, 0.4, 0.2 and 0.2 cores
CORES = {"box1": 0.8, "box2": 0.4, "box3": 0.2, "box4": 0.2}
SLOW_LINKS = [device(h, 5.0 / cores, mbit=None if h == "box1" else 100.0) for h, cores in CORES.items()]


def test_on_slow_links_the_fastest_host_alone_is_recommended_and_a_larger_batch_named() -> None:
    plan = make_plan(SLOW_LINKS, 256, 25 * MB)
    assert plan.take.hosts == ("box1",)
    assert plan.advice[0].startswith("leave out box2, box3 and box4: with them ")
    assert plan.advice[0].endswith("; at a global batch of 1024 they pay")
    assert any("it changes what is learned" in text for text in plan.advice)


def test_on_fast_links_all_hosts_are_recommended() -> None:
    fast = [device(h, 1.0 / cores, mbit=None if h == "box1" else 10_000.0) for h, cores in CORES.items()]
    plan = make_plan(fast, 256, 264_616)
    assert plan.take.hosts == tuple(CORES)
    assert plan.advice[0].startswith("take all 4 hosts: ")
    assert "2.0 times the fastest alone (box1, " in plan.advice[0]
    assert len(plan.advice) == 1


def test_compression_and_the_link_that_holds_everybody_up_are_named() -> None:
    members = [device("box1", 20.0), device("box2", 20.0, mbit=100.0)]
    plan = make_plan(members, 256, 14 * MB)
    assert len(plan.take.hosts) == 2
    assert any(text.startswith('compress = "fp16" gives ') for text in plan.advice)
    assert any(text.startswith("box2's link of 100 Mbit/s: ") for text in plan.advice)


def test_compression_that_makes_more_hosts_pay_is_advised_with_those_hosts() -> None:
    plan = make_plan([device("box1", 20.0), device("box2", 20.0, mbit=100.0)], 256, 40 * MB)
    assert plan.take.hosts == ("box1",)
    assert plan.advice[0].startswith("leave out box2: with it ")
    (best,) = [o for o in plan.options if o.compress == "fp16" and o.global_batch == 256]
    rates = f"{best.samples_per_s:,.0f} samples/s instead of {plan.take.samples_per_s:,.0f}"
    assert f'compress = "fp16" with box1 and box2 gives {rates}' in plan.advice


def test_a_link_that_is_far_and_not_narrow_is_named_with_its_latency() -> None:
    far = Candidate(
        host="box3", device="cpu", line=Line(0, 1, 0, 0, 0), step_line=Line(0, 1, 0, 0, 0),
        link=LinkSpeed(mbit=1000.0, latency_ms=40.0),
    )  # fmt: skip
    plan = make_plan([device("box1", 1.0), device("box2", 1.0, mbit=900.0), far], 1024, MB // 4)
    assert plan.take.hosts == ("box1", "box2", "box3")
    assert any(text.startswith("box3's link of 1,000 Mbit/s and 40 ms: ") for text in plan.advice)


def test_a_larger_batch_that_nobody_has_room_for_is_no_option_and_no_error() -> None:
    plan = make_plan([device("box1", 1.0, cap=300), device("box2", 5.0, mbit=100.0, cap=200)], 256, 25 * MB)
    assert plan.take.hosts == ("box1",)
    assert {o.global_batch for o in plan.options} == {256}
    assert plan.advice[0].startswith("leave out box2: with it ")


def test_hosts_without_room_are_no_option_and_no_room_at_all_is_said() -> None:
    members = [device("box1", 1.0, cap=100), device("box2", 5.0, mbit=1000.0, cap=200)]
    plan = make_plan(members, 256, MB)
    assert {o.hosts for o in plan.options if o.global_batch == 256} == {("box1", "box2")}
    with pytest.raises(SplitError):
        make_plan(members, 400, MB)
    with pytest.raises(ValueError, match="no profile"):
        make_plan([], 256, MB)
