"""The cost model learns a rank's line in spite of noise, follows real changes, and knows how sure it is."""

from __future__ import annotations

import json
import math
import random
import statistics

import pytest

from motley.profiles.cost import CostModel


def window(rng: random.Random, mean_ms: float, noise: float, outliers: float = 0.0, steps: int = 5) -> list[float]:
    """Steps as a busy machine takes them: jitter, and now and then one that takes several times as long."""
    return [
        mean_ms * max(0.2, 1 + noise * rng.gauss(0, 1)) * (rng.uniform(2, 5) if rng.random() < outliers else 1)
        for _ in range(steps)
    ]


def test_two_batch_sizes_give_the_line() -> None:
    model = CostModel()
    for batch in (32, 128):
        for _ in range(4):
            model.observe(batch, [8 + 0.5 * batch] * 5)
    assert model.line.a == pytest.approx(8, rel=0.05)
    assert model.line.c == pytest.approx(0.5, rel=0.02)
    assert model.predict(64).ms == pytest.approx(40, rel=0.01)


def test_one_batch_size_predicts_itself_well_and_others_with_less_certainty() -> None:
    model = CostModel()
    for _ in range(6):
        model.observe(64, [32.0] * 5)
    assert model.predict(64).ms == pytest.approx(32, rel=0.01)
    assert 0 <= model.line.a < 8
    assert 55 < model.predict(128).ms <= 64
    relative = [model.predict(b).std_ms / model.predict(b).ms for b in (64, 128, 256)]
    assert relative[0] < relative[1] <= relative[2] * 1.2
    assert model.predict(8).std_ms / model.predict(8).ms > 2 * relative[0]


def test_the_line_never_goes_below_zero_or_down() -> None:
    model = CostModel()
    model.observe(10, [1.0] * 5)  # a line through these points would start below 0
    model.observe(20, [4.0] * 5)
    assert model.line.a == 0
    falling = CostModel()
    falling.observe(10, [20.0] * 5)  # and this one would fall
    falling.observe(20, [19.0] * 5)
    assert falling.line.c > 0
    assert falling.predict(20).ms == pytest.approx(19.5, rel=0.1)


@pytest.mark.parametrize("noise", [0.03, 0.1, 0.2])
def test_its_standard_error_is_honest(noise: float) -> None:
    """Of many noisy ranks, about as many estimates lie within one and two standard errors as should."""
    errors = []
    for seed in range(200):
        rng, model = random.Random(seed), CostModel()
        for _ in range(8):
            model.observe(64, window(rng, 40, noise))
        estimate = model.predict(64)
        errors.append(abs(estimate.ms - 40) / estimate.std_ms)
    assert 0.6 < statistics.fmean(e < 1 for e in errors) < 0.9
    assert statistics.fmean(e < 2 for e in errors) > 0.93
    assert model.noise == pytest.approx(noise, rel=0.5)


def test_a_disturbed_step_or_a_disturbed_window_changes_nothing() -> None:
    rng, model = random.Random(1), CostModel()
    for _ in range(6):
        model.observe(64, window(rng, 40, 0.05))
    before = model.predict(64).ms
    model.observe(64, [40.0, 39.0, 160.0, 41.0, 40.5])
    assert model.predict(64).ms == pytest.approx(before, rel=0.02)
    model.observe(64, [160.0])  # windows of one step: one accident, then business as usual
    model.observe(64, [40.0])
    assert model.predict(64).ms == pytest.approx(before, rel=0.02)
    assert model.change is None


@pytest.mark.parametrize(("noise", "outliers", "whole_windows"), [(0.03, 0.0, 1), (0.1, 0.0, 1), (0.2, 0.03, 2)])
@pytest.mark.parametrize("slow_steps", [1, 2, 3, 4, 5])
def test_a_slowdown_is_recognised_within_two_windows(
    noise: float, outliers: float, whole_windows: int, slow_steps: int
) -> None:
    """However many steps of the window in which it happens were slow already."""
    late = 0
    for seed in range(60):
        rng, model = random.Random(seed), CostModel()
        for _ in range(10):
            model.observe(64, window(rng, 40, noise, outliers))
        model.observe(64, window(rng, 40, noise, steps=5 - slow_steps) + window(rng, 100, noise, steps=slow_steps))
        for _ in range(whole_windows):
            if model.predict(64).ms < 70:
                model.observe(64, window(rng, 100, noise, outliers))
        late += not 75 < model.predict(64).ms < 130
    assert late <= (0 if noise < 0.2 else 3)


def test_a_window_in_which_the_machine_was_still_changing_does_not_count() -> None:
    model = CostModel()
    for _ in range(8):
        model.observe(64, [40.0, 48.0, 32.0, 42.0, 38.0])
    model.observe(64, [49.0, 58.0, 40.0, 51.0, 47.0])  # in doubt, and on the way
    assert model.change is None
    model.observe(64, [100.0, 120.0, 80.0, 105.0, 95.0])
    assert model.predict(64).ms == pytest.approx(100, rel=0.03)


def test_a_change_is_told_with_its_size_for_a_while() -> None:
    model = CostModel()
    for _ in range(8):
        model.observe(64, [40.0, 41.0, 39.0, 40.5, 39.5])
    model.observe(64, [100.0, 101.0, 99.0, 100.5, 99.5])
    change = model.change
    assert change is not None
    assert change.factor == pytest.approx(2.5, rel=0.02)
    assert change.before_ms == pytest.approx(40, rel=0.02)
    assert change.after_ms == pytest.approx(100, rel=0.02)
    assert model.fresh
    for _ in range(7):
        model.observe(64, [100.0, 101.0, 99.0, 100.5, 99.5])
    assert (model.change, model.fresh) == (None, False)


def test_a_slower_machine_keeps_the_shape_of_its_line() -> None:
    model = CostModel()
    for batch in (32, 128) * 4:
        model.observe(batch, [20 + 0.25 * batch] * 5)
    model.observe(128, [2 * (20 + 0.25 * 128)] * 5)
    assert model.predict(32).ms == pytest.approx(2 * (20 + 0.25 * 32), rel=0.1)


def test_noise_alone_is_hardly_ever_taken_for_a_change() -> None:
    changes = 0
    for seed in range(60):
        rng, model = random.Random(seed), CostModel()
        for _ in range(50):
            model.observe(64, window(rng, 40, 0.2, outliers=0.03))
            changes += model.change is not None and model.change.after_ms == model.predict(64).ms
    assert changes <= 3  # in 3000 windows


def test_a_slow_drift_is_followed() -> None:
    rng, model = random.Random(2), CostModel()
    for i in range(60):
        model.observe(64, window(rng, 40 + 0.2 * i, 0.05))  # +30 % over 300 steps: a laptop that gets hot
    assert model.predict(64).ms == pytest.approx(51.8, rel=0.08)


def test_a_share_of_zero_is_measured_too_and_shows_that_a_host_recovered() -> None:
    model = CostModel()
    for batch in (8, 32) * 3:
        model.observe(batch, [10 * (5 + batch)] * 5)
    for _ in range(3):
        model.observe(0, [50.0] * 5)
    model.observe(0, [5.0] * 5)
    model.observe(0, [5.0] * 5)
    assert model.predict(32).ms == pytest.approx(37, rel=0.25)
    only_zero = CostModel()
    only_zero.observe(0, [5.0] * 5)
    assert only_zero.predict(0).ms == pytest.approx(5, rel=0.05)
    assert math.isfinite(only_zero.predict(64).ms)


def test_a_fit_travels_as_json_and_goes_on_as_if_it_had_stayed() -> None:
    model = CostModel()
    for batch in (16, 64, 48, 48, 48, 48):
        model.observe(batch, [(4 + 0.3 * batch) * x for x in (1.0, 1.2, 0.8, 1.05, 0.95)])
    slower = [23.0, 27.6, 18.4, 24.0, 22.0]
    model.observe(48, slower)  # in doubt: the next window decides
    twin = CostModel.from_dict(json.loads(json.dumps(model.as_dict())))
    for _ in range(3):
        model.observe(48, slower)
        twin.observe(48, slower)
        assert twin.predict(64) == model.predict(64)
        assert twin.change == model.change
    assert twin.change is not None


def test_a_profile_is_a_first_guess_that_measurements_soon_correct() -> None:
    model = CostModel.guess(intercept_ms=6.0, per_sample_ms=0.5, batch=64)
    assert model.predict(128).ms == pytest.approx(70, rel=0.02)
    assert CostModel.guess(30.0, 0.1, 64).predict(128).ms == pytest.approx(42.8, rel=0.02)
    for _ in range(2):
        model.observe(64, [76.0, 77.0, 75.0, 76.5, 75.5])
    assert model.predict(64).ms == pytest.approx(76, rel=0.03)


def test_times_that_are_none_are_ignored_and_an_unknown_rank_says_so() -> None:
    model = CostModel()
    model.observe(64, [])
    model.observe(64, [0.0, float("nan"), -1.0])
    assert not model.known
    with pytest.raises(ValueError, match="nothing was measured"):
        model.predict(64)
    with pytest.raises(ValueError, match="-1 samples"):
        model.observe(-1, [3.0])
