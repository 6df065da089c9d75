"""A Python whose torch believes that it has two GPUs, which compute on the CPU: `python_with` makes it.

It is a virtual environment over this one. This file is its sitecustomize: torch is told otherwise right after it was
imported, in every process. Its version.py, which is read without importing torch, lies in a folder before torch's own.
Only torch is stood in for: all of ours runs as it is.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
import os
import re
import sys
import time
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

HERE = Path(__file__).parent
SAYS = "stand_in.json"
COUNT, NAME, PEAK_MIB, TOTAL_MIB = 2, "Stand-in GPU", 64, 8192


def python_with(folder: Path, *, kind: str, built_for: str, version: str) -> Path:
    """`built_for`: of torch's version.py, "hip" or "xpu"."""
    site = folder / f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    (site / "before_torch").mkdir(parents=True)
    (folder / "bin").mkdir()
    python = folder / "bin/python"
    python.symlink_to(os.path.realpath(sys.executable))
    (folder / "pyvenv.cfg").write_text(f"home = {Path(sys.executable).resolve().parent}\n")
    own = importlib.util.find_spec("torch")
    assert own is not None
    assert own.origin is not None
    torch = Path(own.origin).parent
    (site / "all.pth").write_text(f"{torch.parent}\n")
    told = (torch / "version.py").read_text()
    builds = dict.fromkeys(("cuda", "hip", "xpu"), "None") | {
        built_for: repr(version)
    }  # whatever this torch is built for
    for build, value in builds.items():
        told, count = re.subn(rf"(?m)^{build}\b.*$", f"{build} = {value}", told)
        assert count == 1, build
    (site / "before_torch/version.py").write_text(told)
    (site / SAYS).write_text(json.dumps({"kind": kind}))
    (site / "sitecustomize.py").write_text(Path(__file__).read_text())
    return python


class TorchFinder(MetaPathFinder):
    def find_spec(self, name: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
        if name != "torch":
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec("torch")
        finally:
            sys.meta_path.insert(0, self)
        if spec is None or spec.loader is None or spec.submodule_search_locations is None:
            return spec
        spec.submodule_search_locations.insert(0, str(HERE / "before_torch"))
        imported = spec.loader.exec_module

        def and_told(module: ModuleType) -> None:
            imported(module)
            pretend(module, json.loads((HERE / SAYS).read_text())["kind"])

        spec.loader.exec_module = and_told  # type: ignore[method-assign]
        return spec


class Event:
    def __init__(self, *, enable_timing: bool) -> None:
        assert enable_timing
        self.at = 0.0

    def record(self) -> None:
        self.at = time.perf_counter()

    def synchronize(self) -> None: ...

    def elapsed_time(self, later: Event) -> float:
        return (later.at - self.at) * 1000


def pretend(torch: Any, kind: str) -> None:
    """Two GPUs of this kind."""
    import torch.distributed as dist
    from torch.overrides import TorchFunctionMode

    found = {"is_available": True, "device_count": COUNT, "current_accelerator": torch.device(kind)}
    for name, value in found.items():
        setattr(torch.accelerator, name, lambda *_, value=value: value)
    figures = SimpleNamespace(name=NAME, total_memory=TOTAL_MIB << 20)
    answers = {
        "device_count": COUNT, "get_device_name": NAME, "get_device_properties": figures, "set_device": None,
        "device": contextlib.nullcontext(), "synchronize": None, "manual_seed": None, "empty_cache": None,
        "max_memory_allocated": PEAK_MIB << 20, "max_memory_reserved": PEAK_MIB << 20,
        "memory_reserved": PEAK_MIB << 20, "mem_get_info": (TOTAL_MIB << 19, TOTAL_MIB << 20),
        "reset_peak_memory_stats": None, "is_bf16_supported": False,
    }  # fmt: skip
    module = getattr(torch, kind)
    for name, value in answers.items():
        assert hasattr(module, name), name
        setattr(module, name, lambda *_, value=value, **__: value)
    module.Event = Event
    module.get_rng_state = lambda _device: torch.get_rng_state()
    module.set_rng_state = lambda state, _device: torch.set_rng_state(state)

    def moved(value: Any) -> Any:
        if isinstance(value, torch.device) and value.type == kind:
            return torch.device("cpu")
        return "cpu" if isinstance(value, str) and value.partition(":")[0] == kind else value

    class OnTheCpu(TorchFunctionMode):
        def __torch_function__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func is torch.Tensor.pin_memory:
                return args[0]
            if func is torch.device:
                return func(*args, **(kwargs or {}))
            return func(*map(moved, args), **{name: moved(value) for name, value in (kwargs or {}).items()})

    mode: Any = OnTheCpu()
    mode.__enter__()
    ddp, made = torch.nn.parallel.DistributedDataParallel.__init__, dist.init_process_group

    def ddp_on_the_cpu(self: Any, module: Any, device_ids: Any = None, **how: Any) -> None:
        print(f"DDP on {kind} {device_ids}", flush=True)
        ddp(self, module, **how)

    def by_gloo(backend: str, **how: Any) -> None:
        print(f"a group by {backend}", flush=True)
        made("gloo", **how)

    torch.nn.parallel.DistributedDataParallel.__init__ = functools.wraps(ddp)(ddp_on_the_cpu)
    vars(dist).update(init_process_group=by_gloo, is_nccl_available=lambda: True, is_xccl_available=lambda: True)


if __name__ == "sitecustomize":
    sys.meta_path.insert(0, TorchFinder())
