"""`rank_N.jsonl`: one line a step, one write a line, sequence numbers that go on over restarts of the process.

>>> metrics = MetricsFile(folder, member=2)
>>> metrics.write(sample)
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

import torch

from motley.profiles.gpu import GpuMeter
from motley.trainer.contract.wire import Sample, WireError, decode, encode
from motley.trainer.devices import accelerator
from motley.trainer.host.paths import open_next


class MetricsFile:
    def __init__(self, folder: Path, *, member: int) -> None:
        self.next_seq = _lines_written(folder, member)
        self._folder, self._name = folder, f"rank_{member}"
        self._descriptor: int | None = None  # until there is room for a file
        with contextlib.suppress(OSError):  # tried again with the first line
            self._descriptor, _ = open_next(folder, self._name, ".jsonl")
        self._torn = False  # the last line was written in part
        self._missed = 0  # lines in a row

    def write(self, sample: Sample) -> None:
        """Append one line. On a full disk the line is lost, not the run: the gap in `seq` shows how many were.

        That is said on standard error once, and again when lines are written again.
        """
        line = encode(sample)
        try:
            if self._descriptor is None:
                self._descriptor, _ = open_next(self._folder, self._name, ".jsonl")
            written = os.write(self._descriptor, b"\n" + line if self._torn else line)
            self._torn = written < len(line)
        except OSError as error:
            if not self._missed:
                print(f"metrics not written to {self._folder}: {error.strerror}", file=sys.stderr)
            self._missed += 1
        else:
            if self._missed:
                print(f"metrics are written again; {self._missed} lines are missing", file=sys.stderr)
            self._missed = 0
        self.next_seq += 1


def _lines_written(folder: Path, member: int) -> int:
    """The sequence number after the last one that earlier processes of this member wrote."""
    newest = 0
    for path in (folder / f"rank_{member}.jsonl", *folder.glob(f"rank_{member}.[0-9]*.jsonl")):
        for line in reversed(path.read_bytes().splitlines() if path.exists() else []):
            try:
                record = decode(line)
            except WireError:  # the line a killed process left half-written
                continue
            if isinstance(record, Sample):
                newest = max(newest, record.seq + 1)
            break
    return newest


class DeviceMeter:
    """A rank's device: memory in MiB (the peak allocated on a GPU, the resident set on a CPU) and GPU utilisation.

    Where a rank has several cards they count as one: their memory is added up, and so is the time in which they
    compute, for one waits while another does. `cards` has each by itself.
    """

    def __init__(self, device: torch.device, *beside: torch.device) -> None:
        """`beside`: further cards of the same rank."""
        self.device = device
        self._cards = (device, *beside)
        self._page_mib = os.sysconf("SC_PAGE_SIZE") / 2**20
        self._statm = None if accelerator.is_gpu(device) else os.open("/proc/self/statm", os.O_RDONLY)
        self._totals_mib = [accelerator.total_mib(card) for card in self._cards if accelerator.is_gpu(card)]
        uuids = [accelerator.nvml_uuid(card) if accelerator.is_gpu(card) else None for card in self._cards]
        self._gpus = [None if uuid is None else GpuMeter(uuid) for uuid in uuids]

    def read(self) -> DeviceFigures:
        if self._statm is not None:
            mib = int(os.pread(self._statm, 128, 0).split()[1]) * self._page_mib
            return DeviceFigures(mib=mib)
        mibs = [accelerator.peak_bytes(card) / 2**20 for card in self._cards]
        utils = [None if gpu is None else gpu.utilisation() for gpu in self._gpus]
        known = [util for util in utils if util is not None]
        return DeviceFigures(
            mib=sum(mibs),
            full=max(mib / total for mib, total in zip(mibs, self._totals_mib)),
            gpu_util=min(100.0, sum(known)) if len(known) == len(utils) else None,
            cards=[{"mib": mib, "util": util} for mib, util in zip(mibs, utils)] if len(mibs) > 1 else [],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFigures:
    """Of all cards of a rank together."""

    mib: float
    full: float = math.nan  # 0 to 1: the fullest card of them; NaN on a CPU
    gpu_util: float | None = (
        None  # 0 to 100; None on a CPU or a card that is not NVIDIA's, or when the driver is silent
    )
    cards: list[dict[str, float | None]] = field(default_factory=list)  # where there are several, each: mib, util
