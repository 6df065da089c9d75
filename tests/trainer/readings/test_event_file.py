"""TensorBoard's event files: one that TensorBoard 2.21 wrote, cut anywhere, and damaged ones."""

from __future__ import annotations

import base64
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motley.trainer.readings.event_file import LONGEST, EventFile, Scalar
from motley.trainer.readings.loss_tag import is_training_loss

# torch.utils.tensorboard.SummaryWriter.add_scalar of train/loss, train/lr and eval/loss at steps 1 and 2, then of
# Loss/train at step 3 with new_style=True.
WRITTEN = zlib.decompress(
    base64.b64decode(
        "eNrzYICAf5M85nIqpr67+/fALUcp3qSixMw8Pdey1LwSK6MgPS6dktS84vyipPzEohS94tLc3MSiSr3yosyS1CK9VJCq+LTMnNR4iIj3"
        "/D3HFaDmar5dGcDZWgwxV4BRS5hLkIurBGS6fk5+cbEoA4ODwy+ZC6VyUPU37wgZcTqVwNULcvFzcUDVF4nmCzVbRf6sNZGHqg70dpHg"
        "LESoFuIS4OJMLUvMgRku4Kg+7ZoSimPmwJQzYXHMAXvBtT7CKI7ZjVCP6ZhF9ufLURxzF6Eai2OUHpsHG0GVq0iGveEMK4UqZ9ZS5VLm"
        "4vIBqtQH2+DEwcGoxcLA0GDnxc3FycVenJyYk1hUfPd8djQA5PWKCg=="
    )
)
LOSSES = [("train/loss", 1, 3.0), ("train/loss", 2, 1.5), ("Loss/train", 3, 0.25)]


def losses(scalars: list[Scalar]) -> list[tuple[str, int, float]]:
    return [(s.tag, s.step, s.value) for s in scalars if is_training_loss(s.tag)]


def record(payload: bytes) -> bytes:
    return struct.pack("<Q", len(payload)) + b"crc1" + payload + b"crc2"


def test_scalars_with_their_steps() -> None:
    found = EventFile().feed(WRITTEN)
    assert losses(found) == LOSSES
    assert [(s.tag, s.step) for s in found if s.tag == "eval/loss"] == [("eval/loss", 1), ("eval/loss", 2)]


@pytest.mark.parametrize("size", [1, 7, 50, 1000])
def test_a_file_that_grows_is_read_as_it_grows(size: int) -> None:
    events = EventFile()
    found = [scalar for i in range(0, len(WRITTEN), size) for scalar in events.feed(WRITTEN[i : i + size])]
    assert losses(found) == LOSSES
    assert not events.damaged


def test_what_is_longer_than_a_scalar_is_passed_over() -> None:
    events = EventFile()
    assert events.feed(record(bytes(LONGEST + 1))[:-9]) == []
    assert losses(events.feed(bytes(5) + b"crc2" + WRITTEN)) == LOSSES


@pytest.mark.parametrize("payload", [b"\x2a\xff", b"\x07", b"\xff" * 12, b"\x10", b"\x29\x00"])
def test_what_can_t_be_read_ends_the_reading(payload: bytes) -> None:
    events = EventFile()
    assert events.feed(record(payload) + WRITTEN) == []
    assert events.damaged


def test_no_file_of_events_at_all() -> None:
    events = EventFile()
    assert events.feed(b"\xff" * 100) == []
    assert events.damaged


@given(st.binary(max_size=200), st.integers(0, len(WRITTEN)))
def test_any_bytes_end_or_go_on(noise: bytes, cut: int) -> None:
    for scalar in EventFile().feed(WRITTEN[:cut] + noise):
        assert isinstance(scalar.step, int)
    EventFile().feed(record(noise))


@pytest.mark.parametrize(
    ("tag", "is_loss"),
    [("loss", True), ("train/loss_step", True), ("train_loss", True), ("training.loss", True), ("Loss/train", True),
     ("val_loss", False), ("loss/test", False), ("train/loss_ema", False), ("train/lr", False), ("", False)],
)  # fmt: skip
def test_the_loss_of_the_training_is_told_by_its_name(tag: str, is_loss: bool) -> None:
    assert is_training_loss(tag) is is_loss
