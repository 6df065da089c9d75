"""A run whose loss is not finite any more: nobody goes on without the rank that said so."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from motley.trainer.rank.coordinator_connection import RunOver
from tests.trainer.coordinating import all_in_a_group, coordinating, events, ready, spec, summary


async def test_the_others_form_no_further_group_and_the_summary_says_why(tmp_path: Path) -> None:
    given = spec(3)
    async with coordinating(given, tmp_path):
        lines = await all_in_a_group(given)
        lines[0].report(steps=[[1, 96, 50.0, None]], batches=[[32, 32, 32]], epoch=0)
        lines[0].report(steps=[], batches=[], cause="the loss of step 2 is not a number (rank 1)")
        lines[0].ended("failed")
        for coming in [asyncio.ensure_future(ready(line, generation=0)) for line in lines[1:]]:
            with pytest.raises(RunOver):
                await coming
        for line in lines[1:]:
            line.ended("failed")
    table = summary(tmp_path)
    assert (table["state"], table["cause"]) == ("failed", "the loss of step 2 is not a number (rank 1)")
    assert [event["data"]["generation"] for event in events(tmp_path, "group")] == [0]
