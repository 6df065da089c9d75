"""What a script takes of its host: CPU of all its processes over the time between two looks, and their memory."""

from __future__ import annotations

import os

from motley.trainer.devices.names import nvml_device
from motley.trainer.readings.process_usage import PAGE_MIB, TICKS, ProcessUsage, Taken, ticks_and_pages


class Machine:
    """Processes as a test says they are."""

    def __init__(self) -> None:
        self.now = 10.0
        self.processes: dict[int, tuple[int, int]] = {}
        self.usage = ProcessUsage(cores=4.0, clock=lambda: self.now, read=self.processes.get)

    def look(self, after_s: float = 2.0, **processes: tuple[int, int]) -> Taken | None:
        self.now += after_s
        self.processes.clear()
        self.processes.update({int(name[1:]): one for name, one in processes.items()})
        return self.usage.look([1, 2, 3])


def test_what_processes_have_used_between_two_looks() -> None:
    machine = Machine()
    assert machine.look(p1=(5 * TICKS, 100), p2=(0, 50)) is None
    assert machine.look(p1=(7 * TICKS, 100), p2=(2 * TICKS, 156)) == Taken(cpu=50.0, mem_mib=256 * PAGE_MIB)
    assert machine.look(p1=(7 * TICKS, 100), p2=(2 * TICKS, 156)) == Taken(cpu=0.0, mem_mib=256 * PAGE_MIB)


def test_one_that_has_gone_takes_nothing_and_one_that_came_all_it_has_used() -> None:
    machine = Machine()
    machine.look(p1=(100 * TICKS, 100), p2=(0, 50))
    assert machine.look(p2=(TICKS, 50), p3=(TICKS, 6)) == Taken(cpu=25.0, mem_mib=56 * PAGE_MIB)
    assert machine.look(p2=(0, 50)) == Taken(cpu=0.0, mem_mib=50 * PAGE_MIB)  # another process of that number


def test_it_is_at_most_all_and_two_looks_at_once_are_none() -> None:
    machine = Machine()
    machine.look(p1=(0, 1))
    assert machine.look(p1=(99 * TICKS, 1)) == Taken(cpu=100.0, mem_mib=PAGE_MIB)
    assert machine.look(0.0, p1=(99 * TICKS, 1)) is None


def test_a_real_process_has_ticks_and_pages() -> None:
    found = ticks_and_pages(os.getpid())
    assert found is not None
    assert found[1] > 100
    assert ticks_and_pages(2**22 + 1) is None


def test_a_gpu_that_is_not_visible_is_none() -> None:
    env = {"CUDA_VISIBLE_DEVICES": "3, GPU-5c2"}
    assert [nvml_device(f"cuda:{n}", env) for n in range(3)] == [3, "GPU-5c2", None]
    assert (nvml_device("cuda", {}), nvml_device("xpu:0", {})) == (0, None)
