"""How far a measurement is, in words."""

from __future__ import annotations

from motley.remote.launch.calibration_progress import CalibrationProgress


def test_machines_measure_at_the_same_time_so_the_one_with_most_to_do_counts() -> None:
    progress = CalibrationProgress({"a": "tower", "b": "tower", "c": "tower", "d": "box"})
    assert progress.left_s(0.0) == 0.0  # nothing is known
    for device in "ad":
        progress.begin(device, 0.0)
    assert progress.done("a", 40.0) == "1 of 4 measured, about 1 min left"
    progress.begin("b", 40.0)
    assert progress.left_s(50.0) == 70.0  # b's rest and c
    assert progress.done("d", 60.0) == "2 of 4 measured, about 1 min left"
    assert progress.done("b", 80.0) == "3 of 4 measured, about 50 s left"
    progress.begin("c", 80.0)
    assert progress.done("c", 120.0) == "4 of 4 measured"


def test_a_device_that_takes_longer_than_the_others_leaves_no_negative_time() -> None:
    progress = CalibrationProgress({"a": "one", "b": "two"})
    for device in "ab":
        progress.begin(device, 0.0)
    progress.done("a", 10.0)
    assert progress.left_s(99.0) == 0.0
