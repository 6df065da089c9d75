"""`motley.session()`: a training loop of the user's own, in one process, under torchrun, or on a cluster.

    run = motley.session()
    model, optimizer, schedule = run.prepare(model, optimizer, schedule)
    for step in run.steps(dataset, global_batch=256, epochs=10):
        with step:
            x, y = step.batch
            step.backward(F.cross_entropy(model(x), y, reduction="sum"))
            optimizer.step()
        if step.done:
            schedule.step()

docs/own-loop.md is the page of it. Imports torch.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import torch

from motley.trainer.api.evaluate import Evaluation
from motley.trainer.api.gradients import Gradients
from motley.trainer.api.loop_plan import Collate, LoopPlan, collated, source_named
from motley.trainer.api.misuse import misuse, named
from motley.trainer.api.peers import Peers
from motley.trainer.api.prepared import Prepared
from motley.trainer.api.ranks import GroupBroken
from motley.trainer.api.script_end import watch_end
from motley.trainer.api.step import Step
from motley.trainer.contract.checkpoint_trailer import is_name
from motley.trainer.errors import TrainerError

EVALUATION_BATCH = 256

_session: Session | None = None


def session() -> Session:
    """The session of this process: the same one, however often it is called.

    Under Motley it calls the run's coordinator, under torchrun it joins the group.
    """
    global _session
    if _session is None:
        _session = Session(_peers())
        watch_end(_session.close)
    return _session


def _peers() -> Peers:
    timed = os.environ.pop("MOTLEY_TIMED", "")  # for this process alone
    if timed:
        import json

        from motley.trainer.api.timed_peers import TimedPeers

        return TimedPeers(json.loads(timed))
    folder, member = os.environ.get("MOTLEY_DIR"), os.environ.get("MOTLEY_MEMBER")
    if folder and member:
        from pathlib import Path

        from motley.trainer.api.run_peers import RunPeers

        return RunPeers(Path(folder), int(member), anew=os.environ.get("MOTLEY_ANEW") == "1")
    from motley.trainer.api.plain_peers import PlainPeers

    return PlainPeers()


class Session:
    """What a script has of the run that it is part of."""

    def __init__(self, peers: Peers) -> None:
        self._peers = peers
        self._given: tuple[Any, ...] | None = None
        self._prepared: Prepared | None = None
        self._loop: LoopPlan | None = None
        self._evaluation = Evaluation(peers)
        self._step: Step | None = None
        self._failed: TrainerError | SystemExit | None = None  # while the loop was left

    @property
    def device(self) -> torch.device:
        """Where this rank computes."""
        return self._peers.device

    @property
    def rank(self) -> int:
        """This rank's place in the group of now, from 0: it changes when ranks come and go."""
        return self._peers.rank

    @property
    def world_size(self) -> int:
        """How many ranks the group of now has."""
        return self._peers.world_size

    def prepare(self, *objects: Any) -> Any:
        """Give models, optimizers, schedules, scalers, whatever has a state_dict, all in one call; get them back.

        They are the same objects, the models moved to the rank's device. Raises SessionError for anything else.
        """
        if self._prepared is not None:
            raise misuse("run.prepare was called before", "Give it all objects in one call")
        if not objects:
            raise misuse("run.prepare was given nothing", "Give it the model, the optimizer, the schedule")
        self._prepared = Prepared(objects, self._peers.device)
        return objects[0] if len(objects) == 1 else objects

    def steps(
        self,
        dataset: Any,
        *,
        global_batch: int | None = None,
        epochs: int | None = None,
        steps: int | None = None,
        collate: Collate = collated,
    ) -> Iterator[Step]:
        """The steps of the run, each with this rank's share of `global_batch` samples.

        `dataset`: a tensor, a tuple of tensors of one length, or a map-style Dataset, whose samples `collate` makes a
        batch of. For so many `epochs`, or `steps` in all. Raises SessionError with the line that called.
        """
        if self._prepared is None:
            raise misuse("run.steps comes after run.prepare", "Give run.prepare the model and the optimizer first")
        if self._loop is not None:
            raise misuse("run.steps was called before", "Say epochs=… or steps=… for the whole run, in one loop")
        self._loop = LoopPlan.of(
            dataset,
            global_batch=self._peers.global_batch if global_batch is None else global_batch,
            epochs=epochs,
            steps=steps,
            collate=collate,
            seed=self._peers.seed,
            ranks=self._peers.world_size,
        )
        self._peers.begin(self._loop, self._prepared)
        return self._steps(self._loop, self._prepared)

    def _steps(self, loop: LoopPlan, prepared: Prepared) -> Iterator[Step]:
        gradients = Gradients()
        while True:
            self._evaluation.look()
            self._peers.settle()
            if loop.over:
                self._peers.finish()
                return
            self._evaluation.begin()
            prepared.note()
            self._step = step = Step(loop, self._peers, prepared, gradients)
            try:
                yield step
            except GeneratorExit:  # break, return, or the end of the script
                if step.state != "failed":
                    try:
                        self._leave(loop, prepared, gradients)
                    except (TrainerError, SystemExit) as error:  # who drops a generator doesn't hear it: `close` tells
                        self._failed = error
                raise
            self._look_at(step)

    def _look_at(self, step: Step) -> None:
        """After the user's lines of it. Raises SessionError when they left something out."""
        if step.state == "handed out":
            raise misuse(f"step {step.number} was not used", "Write `with step:` in the loop")
        if step.state == "begun":
            raise misuse(f"step {step.number} is not over", "Write `with step:` in the loop")
        if step.state == "no backward":
            raise misuse(
                f"step {step.number} was left without step.backward",
                "Call step.backward(loss) in each step; to end the loop, write break after the `with`",
                at=named(step.at),
            )

    def _leave(self, loop: LoopPlan, prepared: Prepared, gradients: Gradients) -> None:
        """The loop of all ends at the last completed step: the others hear it where they average the next one."""
        self._evaluation.look()
        while not loop.over:
            try:
                self._peers.settle()
                self._tell_leaving(loop, prepared, gradients)
            except GroupBroken as error:
                self._peers.broke(str(error))
        self._peers.finish()

    def _tell_leaving(self, loop: LoopPlan, prepared: Prepared, gradients: Gradients) -> None:
        if loop.over:  # by one that has left before
            return
        prepared.note()
        ranks = self._peers.ranks
        if len(ranks) > 1:
            gradients.add_up(prepared.parameters(), ranks.add_up, leaving=True)
        loop.ended = True

    def batches(
        self,
        dataset: Any,
        *,
        batch: int = EVALUATION_BATCH,
        collate: Collate = collated,
    ) -> Iterator[Any]:
        """This rank's part of a dataset to evaluate on, in batches on its device, in the dataset's order.

        All ranks together take each sample once; between two steps, before the first, or after the last. When a host
        is lost in the middle, the samples that it had are shared out among those left. Follow it with `mean`.
        """
        if batch < 1:
            raise misuse(f"run.batches: batch is {batch}", "Say at least 1")
        self._needs_between("run.batches")
        source = source_named(dataset, collate, "run.batches")
        return self._evaluation.batches(source, batch, self._prepared.modules if self._prepared is not None else [])

    def mean(self, total: Any, count: Any) -> float:
        """The sum of all ranks' `total` over that of their `count`; NaN where nothing was counted."""
        self._needs_between("run.mean")
        return self._evaluation.mean(*(float(torch.as_tensor(value).detach()) for value in (total, count)))

    def _needs_between(self, called: str) -> None:
        if self._loop is None:
            raise misuse(f"{called} comes after run.steps", "Call it in the loop or after it")
        if self._step is not None and self._step.state in ("begun", "averaged"):
            raise misuse(f"{called} in a step", "Evaluate after the `with`")

    def log(self, **figures: Any) -> None:
        """Figures of the step under way, kept when it is completed. `loss` is what the console shows."""
        step = self._step
        if step is None or step.state not in ("begun", "averaged", "broken", "done"):
            raise misuse("run.log belongs into a step", "Call it in the `with`")
        found = {name: float(torch.as_tensor(value).detach()) for name, value in figures.items()}
        if step.state == "done":
            self._peers.log(step.number, found)
        else:
            step.logged.update(found)

    def save(self, name: str = "saved") -> None:
        """Write a checkpoint `NAME.pt` of everything that was prepared, on one rank for all. Not in a step."""
        self._needs_between("run.save")
        if not is_name(name):
            raise misuse(f"run.save: {name!r} is no name", "Use letters from a to z, digits, _ and -, 100 at most")
        self._peers.save(name)

    def close(self, error: BaseException | None) -> None:
        """The script has come to its end; `error` is what ended it, if anything did.

        Raises what is found to be wrong only now: then the run has failed.
        """
        if error is None and not self._peers.gone:
            self._end()
        self._peers.close(error=error or self._failed)
        if self._failed is not None:
            raise self._failed

    def _end(self) -> None:
        loop, prepared = self._loop, self._prepared
        trains = self._step is not None and loop is not None and not loop.over
        try:
            self._evaluation.look()
            if self._failed is None and trains and loop is not None and prepared is not None:
                self._leave(loop, prepared, Gradients())
        except (TrainerError, SystemExit) as error:
            self._failed = self._failed or error
