"""How a rank gets at the samples of a Dataset: by itself, or by workers, and how many.

>>> Loading(workers=None, device=torch.device("cuda:0"), local_ranks=2).count(cores=16)
4
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from motley.profiles.cores import usable_cores
from motley.trainer.contract.spec import Spec
from motley.trainer.data.fetch import DatasetSource, Source
from motley.trainer.data.worker_pool import WorkerPool
from motley.trainer.devices.names import is_gpu
from motley.trainer.errors import TaskError

MOST = 4  # by default


@dataclass(frozen=True, slots=True, kw_only=True)
class Loading:
    """`workers`: of `[data]`; None: what fits the device."""

    workers: int | None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    local_ranks: int = 1
    note: Callable[[str, float | None], object] = lambda _text, _fraction: None

    @classmethod
    def of(cls, spec: Spec, device: torch.device, note: Callable[[str, float | None], object]) -> Loading:
        return cls(workers=spec.data.workers, device=device, local_ranks=len(spec.local_members), note=note)

    def count(self, cores: float) -> int:
        """A GPU's rank leaves cores idle: all but one of its part of them may fetch. A CPU's rank trains on its own."""
        if self.workers is not None:
            return self.workers
        return max(0, min(MOST, int(cores) // self.local_ranks - 1)) if is_gpu(str(self.device)) else 0

    def workers_for(self, parts: Mapping[str, Source | None], project: Path | None) -> WorkerPool | None:
        """Start workers for the parts that are Datasets, and have these ask them. None where there is no need of any.

        Raises TaskError for a Dataset that can't be sent, where workers were asked for.
        """
        sources = {name: source for name, source in parts.items() if isinstance(source, DatasetSource)}
        count = self.count(usable_cores()) if sources else 0
        if not count:
            return None
        try:
            datasets = {name: source.dataset for name, source in sources.items()}
            pool = WorkerPool(datasets, count=count, project=project)
        except TaskError as error:
            if self.workers is not None:
                raise
            self.note(f"samples are fetched without workers: {error.cause}", None)
            return None
        for name, source in sources.items():
            source.work_with(pool, name)
        return pool


IN_PROCESS = Loading(workers=0)
