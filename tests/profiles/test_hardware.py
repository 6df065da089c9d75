"""A machine is seen as it is granted to us: quotas, memory limits and GPUs, as real systems write them."""

# ruff: noqa: N802 (the stand-in for pynvml has the names of pynvml)

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from motley.profiles.cgroup import Limits, cpu_limit, limits
from motley.profiles.gpu import GpuMeter, gpus, parse_smi
from motley.profiles.hardware import Hardware, probe

REPOSITORY = Path(__file__).resolve().parents[2]
V2_MOUNT = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V1_MOUNTS = (
    "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
)
MEMINFO = "MemTotal:       16384000 kB\nMemFree:         1024000 kB\nMemAvailable:    8192000 kB\n"
GIB = 1024**3


def tree(root: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def limits_of(root: Path) -> Limits:
    found = limits(root)
    assert cpu_limit(root) == found.cpu_cores
    return found


def test_v2_takes_the_smallest_quota_on_the_way_up(tmp_path: Path) -> None:
    found = limits_of(
        tree(
            tmp_path,
            {
                "proc/self/cgroup": "0::/user.slice/job.scope/rank\n",
                "proc/self/mountinfo": V2_MOUNT,
                "sys/fs/cgroup/user.slice/cpu.max": "max 100000\n",
                "sys/fs/cgroup/user.slice/job.scope/cpu.max": "150000 100000\n",
                "sys/fs/cgroup/user.slice/job.scope/rank/cpu.max": "300000 100000\n",
                "sys/fs/cgroup/user.slice/memory.max": f"{4 * GIB}\n",
                "sys/fs/cgroup/user.slice/memory.current": f"{3 * GIB}\n",
                "sys/fs/cgroup/user.slice/memory.stat": f"anon 5\ninactive_file {GIB}\nactive_file 7\n",
                "sys/fs/cgroup/user.slice/job.scope/memory.max": "max\n",
                "sys/fs/cgroup/user.slice/other/cpu.max": "1000 100000\n",
            },
        )
    )
    assert found.cpu_cores == 1.5
    assert (found.mem_limit_mib, found.mem_free_mib) == (4096, 2048)


def test_v1_quota_and_memory_limit(tmp_path: Path) -> None:
    found = limits_of(
        tree(
            tmp_path,
            {
                "proc/self/cgroup": "9:name=systemd:/\n4:memory:/lab/box3\n1:cpu,cpuacct:/lab/box3\n0::/\n",
                "proc/self/mountinfo": V1_MOUNTS,
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/cpu,cpuacct/lab/box3/cpu.cfs_quota_us": "8000\n",
                "sys/fs/cgroup/cpu,cpuacct/lab/box3/cpu.cfs_period_us": "20000\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
                "sys/fs/cgroup/memory/lab/box3/memory.limit_in_bytes": f"{2 * GIB}\n",
                "sys/fs/cgroup/memory/lab/box3/memory.usage_in_bytes": f"{GIB}\n",
                "sys/fs/cgroup/memory/lab/box3/memory.stat": f"inactive_file 1\ntotal_inactive_file {GIB // 2}\n",
            },
        )
    )
    assert found.cpu_cores == 0.4
    assert (found.mem_limit_mib, found.mem_free_mib) == (2048, 1536)


@pytest.mark.parametrize(
    ("group", "seen"),
    [("/docker/abc", "/docker/abc"), ("/", "/"), ("/docker/abc", "/docker/other"), ("/../../host", "/")],
)
def test_in_a_container_the_mount_point_is_its_own_group(tmp_path: Path, group: str, seen: str) -> None:
    mount = f"700 600 0:26 {seen} /my\\040cgroup ro - cgroup2 cgroup ro\n"
    files = {"proc/self/cgroup": f"0::{group}\n", "proc/self/mountinfo": mount, "my cgroup/cpu.max": "50000 100000\n"}
    assert limits_of(tree(tmp_path, files)).cpu_cores == 0.5


def test_a_machine_without_cgroups_or_proc_is_no_error(tmp_path: Path) -> None:
    found = probe(tmp_path, cpu_count=8)
    assert (found.cpu_count, found.cpu_cores, found.mem_total_mib) == (8, 8.0, None)
    assert found.cpu_model


def test_unreadable_lines_are_passed_over(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "nonsense\n0::/a\n",
        "proc/self/mountinfo": "\n1 2 3\n" + V2_MOUNT,
        "sys/fs/cgroup/a/cpu.max": "lots of it\n",
        "sys/fs/cgroup/cpu.max": "200000 100000\n",
    }
    assert limits_of(tree(tmp_path, files)).cpu_cores == 2.0


def test_the_machine_and_its_limits_together(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "0::/job\n",
        "proc/self/mountinfo": V2_MOUNT,
        "proc/meminfo": MEMINFO,
        "proc/cpuinfo": "processor\t: 0\nmodel name\t: Example CPU   @ 3.00GHz\n\nprocessor\t: 1\n",
        "sys/fs/cgroup/job/cpu.max": "250000 100000\n",
        "sys/fs/cgroup/job/memory.max": f"{64 * GIB}\n",
        "sys/fs/cgroup/job/memory.current": f"{1 * GIB}\n",
    }
    found = probe(tree(tmp_path, files), cpu_count=4)
    assert (found.cpu_model, found.cpu_count, found.cpu_cores, found.threads) == ("Example CPU @ 3.00GHz", 4, 2.5, 2)
    assert (found.mem_total_mib, found.mem_available_mib) == (16000, 8000)
    assert probe(tmp_path, cpu_count=2).cpu_cores == 2.0


def test_this_machine_by_the_command_that_runs_on_hosts() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "motley.profiles.hardware"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    found = Hardware.from_dict(json.loads(done.stdout))
    assert 0 < found.cpu_cores <= found.cpu_count <= (os.cpu_count() or 1)
    assert found.mem_total_mib is not None
    assert found.mem_available_mib is not None
    assert 0 < found.mem_available_mib <= found.mem_total_mib


SMI = """\
0, GPU-aaaa, NVIDIA GeForce RTX 3070, 8192, 7903, 37
1, GPU-bbbb, NVIDIA H200, 143771, 143000, [N/A]
"""


def test_what_nvidia_smi_says_is_read_even_where_it_does_not_know() -> None:
    first, second = parse_smi(SMI + "a warning of the driver\n")
    assert (first.index, first.uuid, first.name) == (0, "GPU-aaaa", "NVIDIA GeForce RTX 3070")
    assert (first.mem_total_mib, first.mem_free_mib, first.utilisation) == (8192, 7903, 37)
    assert (second.name, second.utilisation) == ("NVIDIA H200", None)


def command(folder: Path, body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An `nvidia-smi` that is the only one found, on a machine without pynvml."""
    path = folder / "nvidia-smi"
    path.write_text(f"#!/bin/sh\n{body}")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setitem(sys.modules, "pynvml", None)


def test_without_pynvml_the_command_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command(tmp_path, f"cat <<'END'\n{SMI}END\n", monkeypatch)
    assert [gpu.name for gpu in gpus()] == ["NVIDIA GeForce RTX 3070", "NVIDIA H200"]
    found = probe(tmp_path, cpu_count=1)
    assert Hardware.from_dict(json.loads(json.dumps(found.as_dict()))) == found


def test_a_broken_driver_means_no_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command(
        tmp_path, "echo 'NVIDIA-SMI has failed because it could not communicate with the driver'\nexit 9\n", monkeypatch
    )
    assert gpus() == ()


def test_the_meter_never_waits_for_the_command_and_asks_it_seldom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = tmp_path / "calls"
    command(tmp_path, f"echo call >> {calls}\ncat <<'END'\n{SMI}END\n", monkeypatch)
    now = 0.0
    with GpuMeter("GPU-aaaa", interval_s=5.0, clock=lambda: now) as meter:
        assert meter.utilisation() is None  # asked, not waited for
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        assert meter.utilisation() == 37
        now = 4.0
        assert meter.utilisation() == 37
        assert calls.read_text().count("call") == 1
        now = 5.0
        assert meter.utilisation() == 37
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        assert calls.read_text().count("call") == 2
    assert meter.utilisation() is None


class NvmlError(Exception):
    pass


class Nvml(ModuleType):
    """Two GPUs as NVML tells of them: one says all, the other, cut into MIG slices, no utilisation."""

    NVMLError = NvmlError

    def __init__(self, driver: bool = True) -> None:
        super().__init__("pynvml")
        self.driver = driver
        self.users = 0

    def nvmlInit(self) -> None:
        if not self.driver:
            raise NvmlError("NVML Shared Library Not Found")
        self.users += 1

    def nvmlShutdown(self) -> None:
        self.users -= 1

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        if index > 1:
            raise NvmlError("Invalid Argument")
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid: bytes) -> int:
        return [b"GPU-aaaa", b"GPU-bbbb"].index(uuid)

    def nvmlDeviceGetUUID(self, handle: int) -> bytes | str:
        return b"GPU-aaaa" if handle == 0 else "GPU-bbbb"

    def nvmlDeviceGetName(self, handle: int) -> bytes | str:
        return b"NVIDIA GeForce RTX 3070" if handle == 0 else "NVIDIA H200"

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:
        return SimpleNamespace(total=(8 + 133 * handle) * GIB, free=7 * GIB)

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[SimpleNamespace]:
        return [SimpleNamespace(pid=4242)] if handle == 0 else []

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> SimpleNamespace:
        if handle == 1:
            raise NvmlError("Not Supported")
        return SimpleNamespace(gpu=81, memory=5)


def test_pynvml_is_preferred_and_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command(tmp_path, "exit 1\n", monkeypatch)
    nvml = Nvml()
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    first, second = gpus()
    assert (first.name, first.uuid, first.mem_total_mib, first.mem_free_mib) == (
        "NVIDIA GeForce RTX 3070",
        "GPU-aaaa",
        8192,
        7168,
    )
    assert (first.utilisation, first.processes) == (81, (4242,))
    assert (second.utilisation, second.processes) == (None, ())
    with GpuMeter(0) as by_index, GpuMeter("GPU-aaaa") as by_uuid, GpuMeter(1) as mute, GpuMeter(7) as absent:
        assert [meter.utilisation() for meter in (by_index, by_uuid, mute, absent)] == [81, 81, None, None]
    assert nvml.users == 0


def test_pynvml_without_a_driver_falls_back_to_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command(tmp_path, f"cat <<'END'\n{SMI}END\n", monkeypatch)
    monkeypatch.setitem(sys.modules, "pynvml", Nvml(driver=False))
    assert len(gpus()) == 2
