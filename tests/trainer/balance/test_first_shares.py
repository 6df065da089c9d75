"""The shares of the first step: given, from profiles, guessed, or equal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from motley.profiles.split_solver import SplitError
from motley.trainer.balance.first_shares import first_shares, next_shares, prior, with_room
from motley.trainer.contract.spec import BalanceOptions, DataOptions, ElasticOptions, Member, RunOptions, Spec

MEMBERS = tuple(Member(member=i, host=f"box{i}", local_rank=0, device="cpu") for i in range(3))
MEASURED = (
    replace(MEMBERS[0], a_ms=2.0, c_ms=1.0),
    replace(MEMBERS[1], a_ms=2.0, c_ms=2.0),
    replace(MEMBERS[2], a_ms=8.0, c_ms=2.0),
)


def spec(members: tuple[Member, ...], **balance: Any) -> Spec:
    return Spec(
        run="r", host="box0", token="t", leader="box0", leader_address="127.0.0.1", port=29500, members=members,
        options=RunOptions(global_batch=120), balance=replace(BalanceOptions(), **balance), elastic=ElasticOptions(),
        data=DataOptions(), env={},
    )  # fmt: skip


def test_a_run_starts_with_the_shares_that_its_profiles_call_for() -> None:
    shares = first_shares(spec(MEASURED))
    times = [(m.a_ms or 0) + (m.c_ms or 0) * b for m, b in zip(MEASURED, shares)]
    assert sum(shares) == 120
    assert max(times) - min(times) <= 2.0  # one sample of the slowest


def test_a_host_without_a_profile_counts_as_the_average_of_the_others() -> None:
    shares = first_shares(spec((MEASURED[0], MEMBERS[1], MEASURED[1])))
    assert shares[0] > shares[1] > shares[2]


def test_speeds_guessed_from_names_serve_where_nothing_was_measured() -> None:
    guessed = tuple(replace(m, relative_speed=speed) for m, speed in zip(MEMBERS, (3.0, 2.0, 1.0)))
    assert first_shares(spec(guessed)) == (60, 40, 20)
    one_unknown = (*guessed[:2], MEMBERS[2])
    assert first_shares(spec(one_unknown)) == (40, 40, 40)
    assert first_shares(spec((MEASURED[0], *guessed[1:])))[0] == 40  # a measurement beats a guess


def test_static_shares_are_equal_whatever_the_profiles_say_unless_they_are_given() -> None:
    assert first_shares(spec(MEASURED, policy="static")) == (40, 40, 40)
    assert first_shares(spec(MEASURED, policy="static", shares=(100, 10, 10))) == (100, 10, 10)
    with pytest.raises(ValueError, match=r"2 entries, the run has 3 ranks"):
        first_shares(spec(MEASURED, policy="static", shares=(60, 60)))


def test_caps_hold_for_the_first_step_too() -> None:
    capped = (replace(MEASURED[0], max_batch=30), *MEASURED[1:])
    assert first_shares(spec(capped))[0] == 30
    with pytest.raises(SplitError):
        first_shares(spec(tuple(replace(m, max_batch=10) for m in MEMBERS)))


def test_a_profile_is_known_before_the_first_step_and_predicts_what_was_measured() -> None:
    assert prior(MEASURED[1], 40).predict(40).ms == pytest.approx(82.0)
    assert prior(MEASURED[1], 0).predict(10).ms == pytest.approx(22.0, rel=0.05)
    assert not prior(MEMBERS[0], 40).known


def test_the_figures_reach_the_hosts(tmp_path: Path) -> None:
    sent = spec(MEASURED)
    (tmp_path / "spec.json").write_text(sent.to_json())
    assert Spec.from_json((tmp_path / "spec.json").read_text()).members == MEASURED


def test_who_joins_later_gets_the_share_that_its_profile_calls_for() -> None:
    members = (*MEASURED, replace(MEASURED[1], member=3, host="box3"))
    shares = next_shares(spec(MEASURED), members, [prior(m, 30) for m in members])
    assert sum(shares) == 120
    assert abs(shares[3] - shares[1]) <= 1
    assert shares[0] > shares[3] > shares[2]


def test_with_given_shares_who_joins_later_gets_as_much_as_the_others_on_average() -> None:
    given = spec(MEASURED, policy="static", shares=(60, 40, 20))
    members = (*MEASURED, replace(MEMBERS[0], member=3, host="box3"))
    assert next_shares(given, members, []) == (45, 30, 15, 30)


def test_those_that_are_left_have_room_for_the_batch_whatever_their_caps() -> None:
    left = [replace(m, max_batch=cap) for m, cap in zip(MEMBERS, (40, 20))]
    room = with_room(left, 120)
    assert [m.max_batch for m in room] == [80, 40]
    assert next_shares(spec(MEMBERS), room, [prior(m, 0) for m in room]) == (80, 40)
    assert with_room(left, 60) == left
    assert with_room([left[0], MEMBERS[2]], 120) == [left[0], MEMBERS[2]]  # one without a cap has room for all
    assert sum(m.max_batch or 0 for m in with_room([replace(m, max_batch=7) for m in MEMBERS], 100)) >= 100


def test_who_was_given_nothing_gets_nothing_as_long_as_the_others_have_room() -> None:
    given, models = spec(MEMBERS, policy="static", shares=(80, 40, 0)), [prior(m, 0) for m in MEMBERS]
    assert next_shares(given, [MEMBERS[0], MEMBERS[2]], models[:2]) == (120, 0)
    assert next_shares(given, [MEMBERS[2]], models[:1]) == (120,)
    capped = [replace(MEMBERS[0], max_batch=90), MEMBERS[2]]
    assert next_shares(given, capped, models[:2]) == (60, 60)
