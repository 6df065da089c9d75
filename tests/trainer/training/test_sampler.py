"""The order of samples: the same on every machine, whole, and independent of who takes which part."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from motley.trainer.tasks.splitmix import hashed, key, picked, random_bytes
from motley.trainer.training.sampler import BatchSampler, Place, order, place, rank_slice, steps_per_epoch


def test_splitmix_gives_the_published_numbers() -> None:
    bits = hashed(torch.arange(3), 1234567)
    assert [b % 2**64 for b in bits.tolist()] == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_order_is_pinned_so_that_other_versions_and_machines_can_be_compared() -> None:
    assert order(10, seed=0, epoch=0).tolist() == [9, 2, 5, 1, 3, 8, 6, 0, 7, 4]
    assert order(10, seed=2**64 + 5, epoch=1).tolist() == order(10, seed=5, epoch=1).tolist()


def test_order_takes_every_sample_once_and_changes_with_seed_and_epoch() -> None:
    first = order(5000, seed=3, epoch=0)
    assert first.dtype == torch.int64
    assert first.sort().values.tolist() == list(range(5000))
    for other in (order(5000, seed=3, epoch=1), order(5000, seed=4, epoch=0)):
        assert int((first == other).sum()) < 20


def test_order_is_well_mixed() -> None:
    """A sample's place says nothing about its number: their correlation is that of chance (deviation 0.01)."""
    places = order(10_000, seed=0, epoch=0).double()
    assert abs(float(torch.corrcoef(torch.stack([places, torch.arange(10_000.0).double()]))[0, 1])) < 0.04


def test_keys_tell_their_parts_apart() -> None:
    assert len({key(0, 1), key(1, 0), key(0, 0, 1), key(1), key(0, 1, 0)}) == 5


def test_numbers_are_spread_evenly() -> None:
    bits = hashed(torch.arange(30_000), key(1))
    for offset in (0, 8, 32):
        assert picked(bits, 3, offset).bincount().sub(10_000).abs().max() < 400
    counts = random_bytes(torch.arange(1000), 256, key(2)).flatten().int().bincount(minlength=256)
    assert counts.sub(1000).abs().max() < 200


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, Place(epoch=0, index=0, start=0, size=4)),
        (2, Place(epoch=0, index=2, start=8, size=2)),
        (3, Place(epoch=1, index=0, start=0, size=4)),
        (5, Place(epoch=1, index=2, start=8, size=2)),
    ],
)
def test_place_of_a_step(step: int, expected: Place) -> None:
    assert steps_per_epoch(10, 4) == 3
    assert place(step, 10, 4) == expected


def test_batch_larger_than_the_data_is_one_step_an_epoch() -> None:
    assert place(1, 10, 64) == Place(epoch=1, index=0, start=0, size=10)


def test_rank_slices_of_a_full_step_are_the_prefix_sums() -> None:
    assert [rank_slice((3, 0, 5), rank, 8) for rank in range(3)] == [slice(0, 3), slice(3, 3), slice(3, 8)]


splits = st.lists(st.integers(0, 40), min_size=1, max_size=9).filter(lambda shares: sum(shares) > 0)


@given(count=st.integers(1, 200), batch=st.integers(1, 64), seed=st.integers(0, 2**63), one=splits, other=splits)
def test_samples_of_every_step_are_the_same_for_any_split(
    count: int, batch: int, seed: int, one: list[int], other: list[int]
) -> None:
    """Whatever the shares, and also when they change between steps; each epoch takes every sample once."""
    batches = BatchSampler(count=count, global_batch=batch, seed=seed)
    for epoch in range(2):
        seen: list[int] = []
        for index in range(batches.steps_per_epoch):
            step = epoch * batches.steps_per_epoch + index
            whole = batches.ids(step, (1,), 0).tolist()
            for shares in (one, other):
                parts = [batches.ids(step, shares, rank).tolist() for rank in range(len(shares))]
                assert [sample for part in parts for sample in part] == whole
            seen += whole
        assert sorted(seen) == list(range(count))


@given(shares=splits)
def test_a_full_step_follows_the_shares_exactly(shares: list[int]) -> None:
    batches = BatchSampler(count=1000, global_batch=sum(shares), seed=0)
    assert [len(batches.ids(0, shares, rank)) for rank in range(len(shares))] == shares


def test_a_resumed_run_goes_on_with_the_same_samples() -> None:
    running = BatchSampler(count=100, global_batch=7, seed=5)
    for step in range(40):
        running.ids(step, (4, 3), 1)
    resumed = BatchSampler(count=100, global_batch=7, seed=5)
    assert torch.equal(running.ids(40, (4, 3), 0), torch.cat([resumed.ids(40, (2, 2, 3), rank) for rank in (0, 1)]))


def test_nothing_to_train_on_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        BatchSampler(count=0, global_batch=8, seed=0)


lengths_of_rows = st.lists(st.integers(1, 2048), min_size=1, max_size=80)


@given(lengths=lengths_of_rows, batch=st.integers(1, 40), seed=st.integers(0, 2**63), one=splits, other=splits)
def test_by_work_too_the_samples_of_every_step_are_the_same_for_any_split(
    lengths: list[int], batch: int, seed: int, one: list[int], other: list[int]
) -> None:
    """And the same as without work; a rank's are in the order of their length, the longest first."""
    long, count = torch.tensor(lengths), len(lengths)
    batches = BatchSampler(count=count, global_batch=batch, seed=seed, work=long * (long + 9), lengths=long)
    plain = BatchSampler(count=count, global_batch=batch, seed=seed)
    for step in range(batches.steps_per_epoch + 1):
        whole = sorted(plain.ids(step, (1,), 0).tolist())
        for shares in (one, other):
            parts = [batches.ids(step, shares, rank) for rank in range(len(shares))]
            assert sorted(int(sample) for part in parts for sample in part) == whole
            assert tuple(len(part) for part in parts) == batches.sizes(step, shares)
            assert all(len(part) == 0 for part, share in zip(parts, shares) if share == 0)
            for part in parts:
                assert long[part].tolist() == sorted(long[part].tolist(), reverse=True)
            total = sum(batches.work_of(part) for part in parts)
            assert total == pytest.approx(float((long * (long + 9))[whole].sum() / (long * (long + 9)).double().mean()))
        assert int(batches.borrowed(step)) in whole


def test_work_changes_who_takes_what_and_lengths_alone_do_not() -> None:
    long = torch.tensor([100, 1, 1, 1, 1, 1, 1, 1])
    by_rows = BatchSampler(count=8, global_batch=8, seed=0, lengths=long)
    plain = BatchSampler(count=8, global_batch=8, seed=0)
    by_work = BatchSampler(count=8, global_batch=8, seed=0, work=long, lengths=long)
    for rank in (0, 1):
        assert sorted(by_rows.ids(0, (4, 4), rank).tolist()) == sorted(plain.ids(0, (4, 4), rank).tolist())
    assert by_work.ids(0, (4, 4), 0).tolist() == [0]
    assert len(by_work.ids(0, (4, 4), 1)) == 7
    assert [by_work.planned(0, (4, 4), rank) for rank in (0, 1)] == [4, 4]
    assert by_work.sizes(0, (4, 4)) == (1, 7)
    assert by_rows.sizes(0, (5, 3)) == plain.sizes(0, (5, 3)) == (5, 3)
    ahead = by_work.ahead(range(2), (4, 4), 1)
    assert [ids.tolist() for ids, _ in ahead] == [by_work.ids(step, (4, 4), 1).tolist() for step in range(2)]
