"""The NVIDIA GPUs of a machine, without torch: what they are, and how busy they are right now.

Asks the driver's library through pynvml where that is installed, else the `nvidia-smi` command, else there are none.
Nothing here raises because of a missing GPU, driver or package.

    >>> gpus()
    (Gpu(index=0, uuid='GPU-5c2…', name='NVIDIA GeForce RTX 3070', mem_total_mib=8192.0, mem_free_mib=7903.0, …),)
    >>> with GpuMeter("GPU-5c2…") as meter:  # cheap enough for every second
    ...     meter.utilisation()
    97.0

`index` counts as `nvidia-smi` does, which is not always how torch counts: `CUDA_VISIBLE_DEVICES` hides GPUs and CUDA
sorts the fastest first. A rank should name its GPU by UUID, `torch.cuda.get_device_properties(i).uuid`.
"""

from __future__ import annotations

import csv
import importlib
import io
import shutil
import subprocess
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")
MIB = 1024 * 1024
SMI_FIELDS = "index,uuid,name,memory.total,memory.free,utilization.gpu"
SMI_TIMEOUT_S = 20.0  # the first call wakes the driver, which takes seconds without persistence mode


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    index: int
    uuid: str
    name: str
    mem_total_mib: float | None
    mem_free_mib: float | None
    utilisation: float | None = None  # 0 to 100, over about the last second; None where the GPU does not say
    processes: tuple[int, ...] | None = None  # pids that compute on it; None where that is not known


def gpus() -> tuple[Gpu, ...]:
    """All GPUs of the machine, in the order of `nvidia-smi`."""
    nvml = _nvml()
    if nvml is None:
        return smi_gpus()
    try:
        count = nvml.nvmlDeviceGetCount()
        return tuple(_nvml_gpu(nvml, i) for i in range(count))
    except nvml.NVMLError:
        return smi_gpus()
    finally:
        nvml.nvmlShutdown()


def smi_gpus() -> tuple[Gpu, ...]:
    """The same from the `nvidia-smi` command."""
    command = _smi_command()
    if command is None:
        return ()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SMI_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return parse_smi(done.stdout) if done.returncode == 0 else ()


def parse_smi(text: str) -> tuple[Gpu, ...]:
    """The lines of `nvidia-smi --query-gpu=… --format=csv,noheader,nounits`; lines of another form are left out."""
    found = []
    for row in csv.reader(io.StringIO(text), skipinitialspace=True):
        if len(row) == len(SMI_FIELDS.split(",")) and row[0].strip().isdecimal():
            index, uuid, name, total, free, busy = (cell.strip() for cell in row)
            found.append(
                Gpu(
                    index=int(index),
                    uuid=uuid,
                    name=name,
                    mem_total_mib=_number(total),
                    mem_free_mib=_number(free),
                    utilisation=_number(busy),
                )
            )
    return tuple(found)


class GpuMeter:
    """How busy one GPU is, by index or UUID; close it, or use it in a `with`.

    Through pynvml a reading takes microseconds. Through `nvidia-smi`, which takes up to a second, it runs in the
    background: `utilisation` starts it at most every `interval_s`, never waits, and returns the last figure known.
    """

    def __init__(
        self, device: int | str, *, interval_s: float = 5.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._device = device
        self._interval_s = interval_s
        self._clock = clock
        self._started = -float("inf")
        self._last: float | None = None
        self._process: subprocess.Popen[str] | None = None
        self._nvml = _nvml()
        self._handle = _handle(self._nvml, device)
        self._command = _smi_command() if self._handle is None else None

    def utilisation(self) -> float | None:
        """0 to 100; None while nothing is known, or when there is no such GPU."""
        if self._handle is not None:
            return _asked(self._nvml, lambda nvml: float(nvml.nvmlDeviceGetUtilizationRates(self._handle).gpu))
        if self._command is None:
            return None
        if self._process is not None and self._process.poll() is not None:
            output, _ = self._process.communicate()
            self._last = next(
                (gpu.utilisation for gpu in parse_smi(output) if self._device in (gpu.index, gpu.uuid)), None
            )
            self._process = None
        if self._process is None and self._clock() - self._started >= self._interval_s:
            self._started = self._clock()
            self._start(self._command)
        return self._last

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None
        if self._nvml is not None:
            self._nvml.nvmlShutdown()
            self._nvml = self._handle = None
        self._command = None

    def __enter__(self) -> GpuMeter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self, command: list[str]) -> None:
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
        except OSError:  # gone since: there is nothing to ask any more
            self._command = None


def _nvml() -> Any:
    """pynvml, started, or None. Its module is looked up anew: a host may have it in one environment only."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # the old package of that name announces its end
            nvml = importlib.import_module("pynvml")
        nvml.nvmlInit()
    except ImportError:
        return None
    except nvml.NVMLError:  # no driver, or one that does not match
        return None
    return nvml


def _handle(nvml: Any, device: int | str) -> Any:
    if isinstance(device, int):
        return _asked(nvml, lambda n: n.nvmlDeviceGetHandleByIndex(device))
    return _asked(nvml, lambda n: n.nvmlDeviceGetHandleByUUID(device.encode()))


def _nvml_gpu(nvml: Any, index: int) -> Gpu:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    memory = _asked(nvml, lambda n: n.nvmlDeviceGetMemoryInfo(handle))
    running = _asked(nvml, lambda n: n.nvmlDeviceGetComputeRunningProcesses(handle))
    return Gpu(
        index=index,
        uuid=_text(nvml.nvmlDeviceGetUUID(handle)),
        name=_text(nvml.nvmlDeviceGetName(handle)),
        mem_total_mib=None if memory is None else memory.total / MIB,
        mem_free_mib=None if memory is None else memory.free / MIB,
        utilisation=_asked(nvml, lambda n: float(n.nvmlDeviceGetUtilizationRates(handle).gpu)),
        processes=None if running is None else tuple(process.pid for process in running),
    )


def _asked(nvml: Any, question: Callable[[Any], T]) -> T | None:
    """The driver's answer, or None where this GPU has none to that question (MIG, laptops, lost GPUs)."""
    if nvml is None:
        return None
    try:
        return question(nvml)
    except nvml.NVMLError:
        return None


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _smi_command() -> list[str] | None:
    path = shutil.which("nvidia-smi")
    return [path, f"--query-gpu={SMI_FIELDS}", "--format=csv,noheader,nounits"] if path else None


def _number(cell: str) -> float | None:
    """A figure, or None for `[N/A]` and `[Not Supported]`."""
    try:
        return float(cell)
    except ValueError:
        return None
