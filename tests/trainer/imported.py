"""What the process imports that ranks of tests are forked from: as much as that of a host does."""

from __future__ import annotations

from motley.trainer.rank.task_rank import preload

preload()
