"""The end of an epoch: what others hear of how far a rank has come, so that one that is stuck there is noticed."""

from __future__ import annotations

from typing import Any

import pytest

from motley.trainer.contract.spec import RunOptions
from motley.trainer.training.epoch_end import COMBINES, ENDS, EVALUATED, end_epoch
from tests.trainer.ranks import make_job, run_ranks

pytestmark = pytest.mark.ranks


class Heard:
    """Takes the place of the line to the coordinator, and of rank 0's recorder: in which order what is said."""

    step, boundary = 4, False

    def __init__(self) -> None:
        self.words: list[object] = []

    def arrive(self, stage: int = 0) -> None:
        self.words.append(stage)

    def works(self) -> None:
        self.words.append("works")

    def evaluated(self, *_: object) -> None: ...

    def checkpoint(self, _job: Any, name: str) -> None:
        self.words.append(name)


def ending(rank: int, world_size: int, _given: dict[str, Any]) -> list[object]:
    options = RunOptions(task="mlp/digits", steps=8, global_batch=64, checkpoint_every=1, eval_every=1)
    job = make_job(rank, world_size, options, (48, 16), double=False)
    heard: Any = Heard()
    job.progress = job.recorder = heard
    end_epoch(job, 1, last=False)
    return list(heard.words)


def test_ranks_say_where_they_wait_for_each_other_and_that_they_are_at_work() -> None:
    writes, waits = run_ranks(2, ending, {})
    assert [word for word in writes if word != "works"] == [COMBINES, EVALUATED, "best", "epoch_1", ENDS]
    assert [word for word in waits if word != "works"] == [COMBINES, EVALUATED, ENDS]
    for words in (writes, waits):
        assert words[1] == "works"  # for each batch of the evaluation
