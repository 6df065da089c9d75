"""A loop of the user's own under Motley: groups that are formed anew when ranks come and go, shares by speed.

A group is joined at one of two places. Ranks that are *before a step* get the newest state and go on; those that are
*between* two steps, in an evaluation, first finish that among themselves (`Ranks` of some), and the others wait for
them with the state: the user's lines between two steps belong to it, a schedule's step, for one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import time
from pathlib import Path

from motley.trainer.api.loop_plan import LoopPlan
from motley.trainer.api.misuse import project
from motley.trainer.api.peers import Peers, StepFigures
from motley.trainer.api.prepared import Prepared
from motley.trainer.api.ranks import GroupBroken, OneRank, Ranks, collective
from motley.trainer.api.run_join import AT_START, BEFORE_STEP, BETWEEN, Breaks, Instruments, Joined, meet, wait_for_all
from motley.trainer.api.session_member import SessionMember
from motley.trainer.api.share_prepared import share_prepared
from motley.trainer.api.state_of_loop import SessionState, state_of_loop
from motley.trainer.contract.backend import choose_backend
from motley.trainer.devices import accelerator
from motley.trainer.errors import SessionError
from motley.trainer.rank import process_group
from motley.trainer.rank.group_shares import share_out
from motley.trainer.rank.job_setup import slowed
from motley.trainer.rank.kept_state import KeptState
from motley.trainer.rank.restore_state import loaded
from motley.trainer.training.loop import Times, record
from motley.trainer.training.rebalance_window import exchange
from motley.trainer.training.step_checkpoint import checkpoint_if_due


class RunPeers(Peers):
    def __init__(self, folder: Path, member: int, *, anew: bool) -> None:
        """`anew`: the run goes on already; its state comes from the others."""
        self._me = SessionMember(folder, member, project())
        self._spec = spec = self._me.spec
        device = self._me.device()
        super().__init__(
            device, OneRank(), member=member, seed=spec.options.seed, global_batch=spec.options.global_batch
        )
        self._kept = KeptState(step=-1 if anew or spec.resume else 0)
        self._joined: Joined | None = None
        self._broken = False  # in a group that is none any more
        self._handed_out = False  # a step that is not completed
        self._settled = False  # it has had a whole state
        self._together = False  # nobody in the group had one before it
        self._breaks = Breaks()
        self._epochs_saved = 0
        self._began = 0.0  # perf_counter, of the step
        self._slowdown = slowed(self._me.member, spec.members, device)
        self._instruments = Instruments.of(self._me, device)
        self._loop: LoopPlan
        self._prepared: Prepared

    # Before a step

    def begin(self, loop: LoopPlan, prepared: Prepared) -> None:
        self._loop, self._prepared = loop, prepared
        options = dataclasses.replace(
            self._spec.options, task=os.path.basename(sys.argv[0]), global_batch=loop.batches.global_batch,
            steps=loop.steps_total,
        )  # fmt: skip
        self._spec = dataclasses.replace(self._spec, options=options)
        if self.member == 0 and self._spec.resume and self._instruments.metrics.next_seq == 0:  # no step was made yet
            self._kept.step = int(loaded(self._spec, prepared, self._me.journal)[1]["step"])
        self._me.client.data = loop.fingerprint().to_table()
        self._me.in_loop = True

    def settle(self) -> None:
        while True:
            try:
                if self._joined is None or self._broken:
                    self._join(BEFORE_STEP if self._settled else AT_START)
                state = self._newest_state()
                break
            except GroupBroken as error:
                self.broke(str(error))
        self._settled = self._handed_out = True
        if self._me.stop.asked and self.rank == 0:
            self._instruments.recorder.report_alone(state, state.window.rows)
            self._save("stop")
            self._me.leave_stopped()
        epochs, rest = divmod(self._loop.step, self._loop.batches.steps_per_epoch)
        every = state.options.checkpoint_every
        if not rest and epochs > self._epochs_saved and every and epochs % every == 0 and self.rank == 0:
            self._save(f"epoch_{epochs}")
        self._epochs_saved = epochs
        checkpoint_if_due(state)

    def _join(self, where: int) -> None:
        """Leave the group of before, and form the next with all that are ready."""
        kept = self._kept
        self._leave()
        group, listener = self._me.next_group(kept, self._hold)
        spec, known = self._spec, {m.member: m for m in group.roll.members(self._spec.members)}
        self._breaks.look(group, kept.step + 1, in_step=self._handed_out, results=len(self._results))
        kept.backend = choose_backend(spec.options.backend, tuple(known.values()), built_with=accelerator.libraries())
        self._instruments.recorder.joining(group.term.named)
        with collective():
            process_group.join(group, listener, backend=kept.backend, timeout_s=spec.options.step_timeout_s)
        self.ranks, self.rank, self._broken = Ranks(broken=lambda: self._me.broken), group.rank, False
        between, self._results, self._together = meet(
            self.ranks, self.rank, where, kept.step, self._results, self._loop, self.device
        )
        with collective():
            balancer, shares = share_out(spec, group, known, kept, self._me.journal, own=self._instruments.policy)
            self._me.made()
        self.shares = shares
        self._joined = Joined(group, balancer, shares, between)
        self._slowdown = slowed(self._me.member, known.values(), self.device)

    def _newest_state(self) -> SessionState:
        """Whoever has the newest state gives it to all, before the first step of a group."""
        joined, kept = self._joined, self._kept
        assert joined is not None
        if joined.state is not None:
            return joined.state
        group = joined.group
        if kept.step < group.step - 1:  # the others went on without it: its own pause is not the run's
            kept.last_end = None
        own_buffers = not self._together and kept.settle(group.step, 0)
        with collective():
            incoming = share_prepared(
                self._prepared, step=kept.step, source=group.source, device=self.device, own_buffers=own_buffers
            )
        kept.take(incoming, epoch_ends=0, best=0.0)
        self._loop.step = kept.step
        state = joined.state = self._instruments.loop_state(
            self._me, joined, self._spec.options, self._loop, self._prepared, kept, self._slowdown
        )
        state.step_end, state.progress.step = time.perf_counter(), kept.step
        joined.between = None
        if self._together:
            self._begin_run(state)
        elif group.rank == 0:
            self._instruments.recorder.report_alone(state, kept.rows)
        self._epochs_saved = max(self._epochs_saved, (kept.step - 1) // self._loop.batches.steps_per_epoch)
        self._me.trains(f"rank {group.rank} of {group.world_size} on {self._spec.host}, {self.device}, {kept.backend}")
        return state

    def _begin_run(self, state: SessionState) -> None:
        if state.step >= state.steps_total:
            raise SessionError(
                f"the checkpoint is at step {state.step}, and the run ends at step {state.steps_total}",
                "Raise epochs or steps of run.steps to go on",
            )
        self._instruments.recorder.began(state)

    # In a step

    def step_begins(self) -> None:
        state = self._state
        self._began = time.perf_counter()
        state.budget.begin()
        state.slowdown.begin()
        state.watch.start()

    def computed(self) -> None:
        state = self._state
        state.slowdown.pause()
        state.watch.last_gradient()
        state.progress.arrive()

    def added_up(self) -> None:
        state = self._state
        state.watch.all_reduced()
        state.averaged()
        state.slowdown.begin()

    def step_ended(self, figures: StepFigures) -> None:
        state, place = self._state, self._loop.batches.place(self._loop.step)
        state.slowdown.pause()
        with state.changing:
            state.step += 1
            self._loop.step = state.progress.step = state.step
            self._handed_out = False
        self._results = []
        compute_ms, wait_ms = state.watch.read()
        busy_ms = max((time.perf_counter() - self._began - state.aside_s) * 1000 - wait_ms, state.budget.needs_ms())
        threads = state.threads.count
        busy_ms = state.threads.measured(figures.samples, busy_ms)
        times = Times(
            busy_ms=busy_ms, compute_ms=max(0.0, compute_ms - figures.data_ms), wait_ms=wait_ms,
            data_ms=figures.data_ms, threads=threads,
        )  # fmt: skip
        record(state, place, figures.samples, figures.loss_sum, times)
        self.log(state.step, figures.logged)
        if self._prepared.scale_was_too_large():
            state.skipped_steps.add(state.step)
        if self.rank == 0 and figures.samples:
            state.recorder.step_ended(state, figures.loss_sum / figures.samples)
        if state.step == state.steps_total:
            return  # `finish` tells the rest
        try:
            with collective():
                left = exchange(state)
        except GroupBroken as error:
            self.broke(str(error))
            return
        self.shares = state.shares
        self._broken = self._broken or left

    # Between two steps

    def between(self) -> Ranks | None:
        if not self._settled:
            self.settle()
            self._handed_out = not self._together  # else the others have gone on, and evaluate among themselves
        if self._handed_out:
            return None
        while self._joined is None or self._broken:
            try:
                self._join(BETWEEN)
            except GroupBroken as error:
                self.broke(str(error))
        if self._joined.state is not None:  # it is no time of a step
            self._joined.state.step_end = time.perf_counter()
        return self._joined.between or self.ranks

    def broke(self, reason: str) -> None:
        self._broken = True
        self._breaks.note(reason)
        self._me.broke(reason)

    def is_broken(self) -> bool:
        return self._me.broken

    @property
    def gone(self) -> bool:
        return self._me.gone

    def works(self) -> None:
        self._me.client.works()

    def warn(self, text: str) -> None:
        self._me.journal.write("note", text, "warning")

    def log(self, step: int, figures: dict[str, float]) -> None:
        if self.rank == 0 and figures:
            self._me.log(step, figures)

    def save(self, name: str) -> None:
        first = self._joined.between.members[0] if self._joined is not None and self._joined.between else 0
        if self.rank == first and not self._handed_out:
            self._save(name)

    def _save(self, name: str) -> None:
        began, state = time.perf_counter(), self._joined.state if self._joined else None
        if state is None:
            self._write(name, self._loop.step)
            return
        state.recorder.checkpoint(state, name)
        state.step_end += time.perf_counter() - began

    # The end

    def finish(self) -> None:
        while True:
            state = self._state
            state.steps_total = state.step  # not the loop's own: of that all ranks must say the same when they meet
            try:
                with collective():
                    exchange(state, last=True)
                wait_for_all(self.ranks, self.device)  # nobody goes before all have the state
                break
            except GroupBroken as error:
                self.broke(str(error))
                self._handed_out = False
                self.settle()
        self._handed_out = self._me.in_loop = False
        if self.rank == 0:
            self._save("final")

    def close(self, *, error: BaseException | None) -> None:
        if error is not None:
            return self._me.fail(error)
        self._leave()
        return self._me.finish()

    @property
    def _state(self) -> SessionState:
        assert self._joined is not None
        assert self._joined.state is not None
        return self._joined.state

    def _leave(self) -> None:
        """Keep what is to go on in the next group, and hold on to nothing of this one."""
        joined, kept = self._joined, self._kept
        if joined is None:
            return
        self.ranks.let_go()
        if joined.between is not None:
            joined.between.let_go()
        if joined.state is not None:
            state = joined.state
            if self._handed_out or state.step != kept.step:  # else what was undone may be so still
                kept.undo = self._prepared if self._handed_out else None
            kept.step, kept.last_end, kept.rows = state.step, state.last_end, state.window.rows
        kept.balancer = joined.balancer
        self._joined = None

    def _hold(self, cut_off: bool) -> None:
        """The wait for a group may be long, or in vain: the state belongs on this host's disk."""
        kept = self._kept
        if kept.step > 0:
            with kept.undo.undone() if kept.undo is not None else contextlib.nullcontext():
                self._write("held", kept.step)
        if cut_off:
            self._me.tell_cut_off(kept)

    def _write(self, name: str, step: int) -> None:
        state = state_of_loop(self._loop, self._prepared, script=self._spec.options.task, step=step)
        self._instruments.recorder.save(name, step, state, keep=self._spec.options.keep_checkpoints)
