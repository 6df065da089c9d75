"""Which steps a run's result stands on."""

from __future__ import annotations

from motley.console.report.kept_steps import KeptSteps
from tests.console.report.experiments import step


def test_lines_of_a_step_are_put_together_in_any_order() -> None:
    steps = KeptSteps()
    steps.add([*step(2, (48, 16), loss=2.0), *reversed(step(1))])
    kept, given_up = steps.settle(None)
    assert [one.step for one in kept] == [1, 2]
    assert given_up == []
    assert (kept[1].samples, kept[1].ms, kept[1].loss) == (64, 100.0, 2.0)
    assert kept[1].hosts() == {"desktop": 48, "laptop": 16}


def test_a_step_that_was_made_again_counts_once_and_what_followed_the_old_one_is_given_up() -> None:
    steps = KeptSteps()
    steps.expect(0, (0, 1))
    steps.expect(1, (0,))
    for number in (1, 2, 3, 4):  # of step 4 there is no new one
        steps.add(step(number))
    steps.add(step(3, (64,), generation=1, members=(0,)))
    kept, given_up = steps.settle(None)
    assert [(one.step, one.generation) for one in kept] == [(1, 0), (2, 0), (3, 1)]
    assert sorted(one.step for one in given_up) == [3, 4]


def test_a_rank_whose_line_lacks_took_part_all_the_same() -> None:
    steps = KeptSteps()
    steps.expect(0, (0, 1))
    steps.add(step(1)[:1])
    kept, _ = steps.settle(None)
    assert kept[0].samples == 64


def test_who_is_not_of_the_group_does_not_count() -> None:
    steps = KeptSteps()
    steps.expect(0, (0,))
    steps.add(step(1))
    kept, _ = steps.settle(None)
    assert kept[0].samples == 32
    assert kept[0].hosts() == {"desktop": 32}
