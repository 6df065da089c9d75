"""Ranks whose training data differs: before the first step the run ends, a host that joins is refused."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from motley.trainer.contract.data_fingerprint import FROZEN, DataFingerprint
from motley.trainer.rank.coordinator_client import CoordinatorClient
from motley.trainer.rank.coordinator_connection import JoinError
from tests.trainer.coordinating import all_in_a_group, coordinating, dial, events, spec, summary

MINE = DataFingerprint(length=1500, exact="aaaaaaaaaa", kind="k", values=((10.0, 20.0),))


async def with_data(given: object, member: int, **other: object) -> CoordinatorClient:
    line = await asyncio.to_thread(dial, given, member)  # type: ignore[arg-type]
    line.data = MINE.to_table() | other
    return line


async def test_other_data_at_the_first_group_ends_the_run_with_both_figures(tmp_path: Path) -> None:
    given = spec(2)
    async with coordinating(given, tmp_path):
        lines = [await with_data(given, 0), await with_data(given, 1, length=1400)]

        async def told(line: CoordinatorClient) -> str:
            with pytest.raises(JoinError) as error:
                await asyncio.to_thread(line.ready, times={}, store=("127.0.0.1", 1))
            line.ended("failed")
            return str(error.value)

        texts = await asyncio.gather(*map(told, lines))
    pairs = [
        ("rank 1 on box1", "rank 0 on box0", "1,400 samples, not 1,500"),
        ("rank 0 on box0", "rank 1 on box1", "1,500 samples, not 1,400"),
    ]
    assert texts[0] == texts[1]
    assert texts[0] in [
        f"{one} has other training data than {two}: {than}. Give all hosts the same: [data] push does"
        for one, two, than in pairs
    ]
    assert summary(tmp_path)["state"] == "failed"
    assert summary(tmp_path)["cause"] == texts[0]


async def test_a_host_that_joins_with_other_samples_is_refused_and_the_run_goes_on(tmp_path: Path) -> None:
    given = spec(3)
    async with coordinating(given, tmp_path):
        lines = await all_in_a_group(given)
        lines[1].close()
        for line in (lines[0], lines[2]):
            line.data = MINE.to_table()
        groups = await asyncio.gather(
            *(asyncio.to_thread(line.ready, times={}, store=("127.0.0.1", 7), step=4) for line in (lines[0], lines[2]))
        )
        assert [group.members for group in groups] == [(0, 2), (0, 2)]
        back = await with_data(given, 1, exact="bbbbbbbbbb", kind="other")
        with pytest.raises(
            JoinError, match="rank 1 on box1 has other training data than rank 0 on box0: 8 of its 1,500"
        ):
            await asyncio.to_thread(back.ready, times={}, store=("127.0.0.1", 8), step=-1)
        back.close()
        assert not lines[0].boundary  # nobody waits for it
        for line in (lines[0], lines[2]):
            line.joined()
            line.ended("finished")
    assert summary(tmp_path)["state"] == "finished"
    (note,) = [event["text"] for event in events(tmp_path, "note") if "other training data" in event["text"]]
    assert note.endswith("It can't join; the others go on")


async def test_samples_that_differ_slightly_are_a_warning(tmp_path: Path) -> None:
    given = spec(2)
    async with coordinating(given, tmp_path):
        lines = [await with_data(given, 0), await with_data(given, 1, exact="bbbbbbbbbb", values=[[10.0, 20.1]])]
        await asyncio.gather(*(asyncio.to_thread(line.ready, times={}, store=("127.0.0.1", 1)) for line in lines))
        for line in lines:
            line.joined()
            line.ended("finished")
    (note,) = [event for event in events(tmp_path, "note") if "slightly" in event["text"]]
    assert note["level"] == "warning"
    assert "another Pillow" in note["text"]


async def test_a_word_of_the_task_that_differs_ends_the_run_with_both(tmp_path: Path) -> None:
    given = spec(2)
    async with coordinating(given, tmp_path):
        mine = [["tokenizer", "3f2a (tokenizers 0.23.3)"], ["labels", "77aa"], ["weights", "c0de (torch 2.13)"]]
        its = [["tokenizer", "9c1e (tokenizers 0.22.0)"], ["labels", "88bb"], ["weights", "c0de (torch 2.14)"]]
        lines = [await with_data(given, 0, identity=mine), await with_data(given, 1, identity=its, length=7)]

        async def told(line: CoordinatorClient) -> str:
            with pytest.raises(JoinError) as error:
                await asyncio.to_thread(line.ready, times={}, store=("127.0.0.1", 1))
            line.ended("failed")
            return str(error.value)

        texts = await asyncio.gather(*map(told, lines))
    a, b = "3f2a (tokenizers 0.23.3)", "9c1e (tokenizers 0.22.0)"
    remedy = "Give all hosts the same files and the same versions of libraries"
    assert texts[0] == texts[1] == summary(tmp_path)["cause"]
    assert texts[0] in [
        f"rank 1 on box1 differs from rank 0 on box0: tokenizer {b}, not {a}; labels differ too. {remedy}",
        f"rank 0 on box0 differs from rank 1 on box1: tokenizer {a}, not {b}; labels differ too. {remedy}",
    ]


async def test_a_host_that_joins_with_another_word_of_the_task_is_refused(tmp_path: Path) -> None:
    given = spec(3)
    async with coordinating(given, tmp_path):
        lines = await all_in_a_group(given)
        lines[1].close()
        for line in (lines[0], lines[2]):
            line.data = MINE.to_table() | {"identity": [["tokenizer", "3f2a"]]}
        await asyncio.gather(
            *(asyncio.to_thread(line.ready, times={}, store=("127.0.0.1", 7), step=4) for line in (lines[0], lines[2]))
        )
        back = await with_data(given, 1)
        with pytest.raises(JoinError, match="rank 1 on box1 differs from rank 0 on box0: tokenizer none, not 3f2a"):
            await asyncio.to_thread(back.ready, times={}, store=("127.0.0.1", 8), step=-1)
        back.close()
        for line in (lines[0], lines[2]):
            line.joined()
            line.ended("finished")
    assert summary(tmp_path)["state"] == "finished"


async def test_a_host_that_joins_with_another_base_model_is_refused_before_it_is_in_a_group(tmp_path: Path) -> None:
    given = spec(3)
    its = {"identity": [["tokenizer", "3f2a"], [FROZEN, "77aa (float32)"]]}
    async with coordinating(given, tmp_path):
        lines = await all_in_a_group(given)
        lines[1].close()
        for line, dtype in ((lines[0], "bfloat16"), (lines[2], "float32")):  # the same weights all the same
            line.data = MINE.to_table() | {"identity": [["tokenizer", "3f2a"], [FROZEN, f"c0de ({dtype})"]]}
        await asyncio.gather(
            *(asyncio.to_thread(line.ready, times={}, store=("127.0.0.1", 7), step=4) for line in (lines[0], lines[2]))
        )
        back = await with_data(given, 1, **its)
        with pytest.raises(JoinError, match="rank 1 on box1 differs from rank 0 on box0: frozen weights 77aa"):
            await asyncio.to_thread(back.ready, times={}, store=("127.0.0.1", 8), step=-1)
        back.ended("failed")
        for line in (lines[0], lines[2]):
            line.joined()
            line.ended("finished")
    assert summary(tmp_path)["state"] == "finished"
    note = next(event["text"] for event in events(tmp_path, "note") if "frozen weights" in event["text"])
    assert note == (
        "rank 1 on box1 differs from rank 0 on box0: frozen weights 77aa (float32), not c0de (bfloat16). Give all "
        "hosts the model that the run began with: [data] push does. It can't join; the others go on"
    )
