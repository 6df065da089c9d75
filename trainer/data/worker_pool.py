"""The workers of one rank: processes that fetch samples by number, ahead of the step that needs them.

>>> pool = WorkerPool({"train": dataset}, count=2, project=None)
>>> now, then = [Sample("train", 7, seed=1)], [Sample("train", 3, seed=2)]
>>> pool.take(now, then)             # the samples of `now`; those of `then` are fetched meanwhile
[(tensor([...]), 4)]

Samples are asked for, not batches: when the shares have changed, the slices of all ranks shift; what this rank still
needs of what was fetched is used, the rest is dropped, and no worker is started again. They are started from a fork
server by the main thread, before there is a process group.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
import threading
import types
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from motley.trainer.data.sample_bytes import packed, unpacked
from motley.trainer.data.worker import WITHOUT, Answer, Failure, Packed, Sample, serve
from motley.trainer.errors import DataError, TaskError, TrainerError, told
from motley.trainer.host.paths import HERE

AT_ONCE = 2  # requests that a worker has: one it works on, and the next
MOST = 16  # samples of a request
ENDS_S = 5.0  # for a process whose connection has closed to be gone


@dataclass(slots=True, eq=False)
class _Request:
    """Samples that one worker fetches in a row."""

    ticket: int
    samples: tuple[Sample, ...]
    answer: Packed | Failure | None = None
    found: dict[Sample, Any] | None = None

    def opened(self) -> dict[Sample, Any]:
        if self.found is None:
            assert self.answer is not None
            if isinstance(self.answer, Failure):
                raise self.answer.error()
            self.found, self.answer = dict(zip(self.samples, unpacked(*self.answer))), None
        return self.found


@dataclass(slots=True, eq=False)
class _Worker:
    number: int  # from 1
    process: ForkServerProcess
    line: Connection
    busy: int = 0  # requests that it has


class WorkerPool:
    """`take` belongs to one thread. It is there once a worker is ready."""

    def __init__(self, datasets: Mapping[str, Any], *, count: int, project: Path | None) -> None:
        """`project`: the folder of the user's files, for the place of an error in them.

        Raises TaskError for a Dataset that workers can't have.
        """
        try:
            sent = packed(dict(datasets))
        except Exception as error:
            remedy = f"Let it open files and connections in __getitem__, or {WITHOUT}"
            raise TaskError(f"the Dataset can't be sent to workers: {told(error)[0]}", remedy) from error
        self._changed = threading.Condition()
        self._asked: dict[Sample, _Request] = {}
        self._waiting: deque[_Request] = deque()  # for a worker
        self._under_way: dict[int, _Request] = {}  # by ticket
        self._tickets = 0
        self._failed: TrainerError | None = None
        self._ready = 0  # workers
        self._closed = False
        with _started_from_here() as context:
            self._workers = [_started(context, number, sent, project) for number in range(1, count + 1)]
        threading.Thread(target=self._receive, name="samples", daemon=True).start()
        with self._changed:
            while not self._ready and self._failed is None:
                self._changed.wait()
            if self._failed is not None:
                raise self._failed

    @property
    def pids(self) -> list[int]:
        return [worker.process.pid or 0 for worker in self._workers]

    def take(self, now: Sequence[Sample], then: Sequence[Sample] = ()) -> list[Any]:
        """The samples of `now`, in order. Those of `then` are fetched after them; what is in neither is dropped.

        Raises what a sample raised, as a TaskError or DataError, and DataError when a worker has died.
        """
        parts = {sample.part for sample in now}
        with self._changed:
            self._drop(parts, {*now, *then})
            self._ask(now, first=True)
            self._ask(then, first=False)
            self._hand_out()
            needed = {id(self._asked[sample]): self._asked[sample] for sample in now}.values()
            while any(request.answer is None and request.found is None for request in needed):
                if self._failed is not None:
                    raise self._failed
                self._changed.wait()
            return [self._asked[sample].opened()[sample] for sample in now]

    def close(self) -> None:
        """End the workers."""
        with self._changed:
            self._closed = True
        for worker in self._workers:
            worker.process.terminate()
        for worker in self._workers:
            worker.process.join(ENDS_S)

    def _drop(self, parts: set[str], wanted: set[Sample]) -> None:
        for sample in [one for one in self._asked if one.part in parts and one not in wanted]:
            del self._asked[sample]
        self._waiting = deque(one for one in self._waiting if any(self._asked.get(s) is one for s in one.samples))

    def _ask(self, samples: Sequence[Sample], *, first: bool) -> None:
        missing = [sample for sample in dict.fromkeys(samples) if sample not in self._asked]
        size = min(MOST, max(1, -(-len(missing) // (AT_ONCE * len(self._workers)))))
        requests = []
        for start in range(0, len(missing), size):
            self._tickets += 1
            request = _Request(self._tickets, tuple(missing[start : start + size]))
            requests.append(request)
            self._asked.update(dict.fromkeys(request.samples, request))
        if first:
            self._waiting.extendleft(reversed(requests))
        else:
            self._waiting.extend(requests)

    def _hand_out(self) -> None:
        """To whoever has the least to do. Requests are short: a connection takes them without waiting."""
        while self._waiting and self._failed is None:
            worker = min(self._workers, key=lambda one: one.busy)
            if worker.busy >= AT_ONCE:
                return
            request = self._waiting.popleft()
            self._under_way[request.ticket] = request
            worker.busy += 1
            with contextlib.suppress(OSError):  # it has died: `_receive` says so
                worker.line.send((request.ticket, request.samples))

    def _receive(self) -> None:
        """On a thread of its own: take what workers send, until one of them is gone."""
        by_line = {worker.line: worker for worker in self._workers}
        while True:
            for line in wait(list(by_line)):
                worker = by_line[line]  # type: ignore[index]
                try:
                    answer: Answer = worker.line.recv()
                except (EOFError, OSError):
                    self._gone(worker)
                    return
                with self._changed:
                    self._take_in(worker, *answer)
                    self._changed.notify_all()

    def _take_in(self, worker: _Worker, ticket: int, answer: Packed | Failure | None) -> None:
        if answer is None:
            self._ready += 1
        elif ticket < 0:
            assert isinstance(answer, Failure)
            self._failed = self._failed or answer.error()
        else:
            worker.busy -= 1
            self._under_way.pop(ticket).answer = answer
            self._hand_out()

    def _gone(self, worker: _Worker) -> None:
        worker.process.join(ENDS_S)
        with self._changed:
            if not self._closed:
                self._failed = self._failed or died(worker.number, len(self._workers), worker.process)
            self._changed.notify_all()


def died(number: int, count: int, process: ForkServerProcess) -> DataError:
    code = process.exitcode
    how = "has ended" if code is None else f"ended with exit code {code}"
    if code is not None and code < 0:
        how = f"was ended by signal {-code}"
    remedy = "Fewer workers in [data] take less memory"
    if code != -9:
        remedy = f"The rank's log may say why; {WITHOUT} to fetch without workers"
    return DataError(f"worker {number} of {count} that fetch samples (pid {process.pid}) {how}", remedy)


@contextlib.contextmanager
def _started_from_here() -> Iterator[multiprocessing.context.ForkServerContext]:
    """The fork server has what workers import, and is started in our own folder: one of the user's may hold a file with
    the name of a module that Python itself needs. Workers do not run the program of this process again."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["motley.trainer.data.worker"])
    program, folder = sys.modules["__main__"], os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.chdir(HERE)
        forkserver.ensure_running()
        os.fchdir(folder)
        sys.modules["__main__"] = types.ModuleType("__main__")
        yield context
    finally:
        sys.modules["__main__"] = program
        os.fchdir(folder)
        os.close(folder)


def _started(
    context: multiprocessing.context.ForkServerContext, number: int, datasets: Packed, project: Path | None
) -> _Worker:
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, datasets, project), name=f"worker {number}", daemon=True)
    process.start()
    theirs.close()
    return _Worker(number, process, ours)
