"""A worker: a process of its own that fetches samples for one rank. `trainer.data.worker_pool` starts it and asks it.

It comes from a fork server, so it inherits nothing of the rank's: neither its line to the coordinator nor the sockets
of its group. It ends when the rank's side of their connection closes, also in the middle of a sample.
"""

from __future__ import annotations

import os
import queue
import signal
import threading
import traceback
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple, Union

import torch

from motley.trainer.data.sample_bytes import packed, unpacked
from motley.trainer.data.seeded_sample import sample_of
from motley.trainer.errors import DataError, TaskError, TrainerError, told
from motley.trainer.tasks.user_code import REMEDY, user_code

Packed = tuple[bytes, list[bytearray]]
WITHOUT = "set workers = 0 in [data]"


class Sample(NamedTuple):
    """One sample as it is asked for."""

    part: str  # the data set: "train", "test"
    number: int
    seed: int  # of the random numbers that it finds


class Failure(NamedTuple):
    """An error of ours on its way to the rank."""

    in_data: bool
    cause: str
    remedy: str

    @classmethod
    def of(cls, error: TrainerError) -> Failure:
        return cls(isinstance(error, DataError), error.cause, error.remedy)

    def error(self) -> TrainerError:
        return (DataError if self.in_data else TaskError)(self.cause, self.remedy)


Answer = tuple[int, Union[Packed, Failure, None]]  # to a ticket; to none, -1: None, it is ready, or it can't be


def serve(rank: Connection, datasets: Packed, project: Path | None) -> None:
    """Until the rank goes. `project`: the folder of the user's files."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    requests: queue.SimpleQueue[tuple[int, Sequence[Sample]]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(rank, requests), name="listen", daemon=True).start()
    try:
        with user_code(project):
            parts: Mapping[str, Any] = unpacked(*datasets)
    except Exception as error:  # noqa: BLE001 - whatever the import of a module raises; it is told
        what = f"the Dataset can't be made in a worker: {told(error)[0]}"
        remedy = f"Define it in a module that can be imported by its name, or {WITHOUT}"
        _say(rank, (-1, Failure(False, what, remedy)))
        return
    _say(rank, (-1, None))
    while True:
        ticket, samples = requests.get()
        _say(rank, (ticket, _fetched(parts, samples, project)))


def _listen(rank: Connection, requests: queue.SimpleQueue[tuple[int, Sequence[Sample]]]) -> None:
    try:
        while True:
            requests.put(rank.recv())
    except (EOFError, OSError):
        os._exit(0)


def _say(rank: Connection, answer: Answer) -> None:
    try:
        rank.send(answer)
    except OSError:  # it has gone
        os._exit(0)


def _fetched(parts: Mapping[str, Any], samples: Sequence[Sample], project: Path | None) -> Packed | Failure:
    found = []
    try:
        for sample in samples:
            with user_code(project):
                found.append(sample_of(parts[sample.part], sample.number, sample.seed))
    except TrainerError as error:
        return Failure.of(error)
    except Exception as error:  # noqa: BLE001 - of a data set of ours; its traceback is in the rank's log
        traceback.print_exc()
        return Failure(True, f"sample {sample.number} of {sample.part}_data: {told(error)[0]}", REMEDY)
    try:
        return packed(found)
    except Exception as error:  # noqa: BLE001 - pickle raises anything
        what = f"sample {samples[0].number} of {samples[0].part}_data can't be sent from a worker: {told(error)[0]}"
        return Failure(False, what, f"Let __getitem__ give tensors, arrays, numbers and text, or {WITHOUT}")
