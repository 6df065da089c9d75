"""`rank_N.jsonl`: one line a step, one write a line, sequence numbers that go on over restarts of the process.

>>> metrics = MetricsFile(folder, member=2)
>>> metrics.write(sample)
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
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
    """A rank's device: memory in MiB (the peak allocated on a GPU, the resident set on a CPU) and GPU utilisation."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._page_mib = os.sysconf("SC_PAGE_SIZE") / 2**20
        self._statm = None if accelerator.is_gpu(device) else os.open("/proc/self/statm", os.O_RDONLY)
        self.total_mib = accelerator.total_mib(device) if accelerator.is_gpu(device) else math.nan
        uuid = accelerator.nvml_uuid(device) if accelerator.is_gpu(device) else None
        self._gpu = GpuMeter(uuid) if uuid is not None else None

    def mib(self) -> float:
        if self._statm is None:
            return accelerator.peak_bytes(self.device) / 2**20
        return int(os.pread(self._statm, 128, 0).split()[1]) * self._page_mib

    def gpu_util(self) -> float | None:
        """0 to 100; None on a CPU or a card that is not NVIDIA's, or when the driver does not say."""
        return None if self._gpu is None else self._gpu.utilisation()
