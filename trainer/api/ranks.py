"""The ranks of one group, and what they tell each other: the only place where a loop of the user's own calls torch's
collectives. A group that breaks is known by the call that raised, never by an error's words.

>>> ranks = Ranks(recovers=True)
>>> ranks.add_up([tensor])              # raises GroupBroken when a peer has gone
>>> ranks.gather(torch.tensor([3, 4]))
[tensor([1, 2]), tensor([3, 4])]
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from motley.trainer.errors import TrainerError
from motley.trainer.rank.group_failure import broken_by

in_collective = threading.Event()  # the main thread waits for others: then, and only then, it can hang


class GroupBroken(BaseException):
    """A peer has gone, and the step with it. No `Exception`: the user's own `except Exception` must not eat it."""


@contextlib.contextmanager
def collective() -> Iterator[None]:
    """Around calls that need the peers."""
    in_collective.set()
    try:
        yield
    except TrainerError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, it came from this call
        raise GroupBroken(
            broken_by(error) if str(error) else type(error).__name__
        ) from None  # its traceback holds on to the group's sockets
    finally:
        in_collective.clear()


class Ranks:
    """Collectives of the default process group, or of some of its ranks; of one rank alone they are nothing."""

    def __init__(self, *, recovers: bool, some: Sequence[int] | None = None) -> None:
        """`recovers`: who calls can go on without a peer; else the error is raised as it is.

        `some`: the ranks that take part, by default all. All ranks of the group must make it, in the same order.
        """
        self.members = tuple(some) if some is not None else tuple(range(dist.get_world_size()))
        self._guard = collective if recovers else contextlib.nullcontext
        self._group = dist.new_group(list(some)) if some is not None else None

    def __len__(self) -> int:
        return len(self.members)

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """In place, over all ranks."""
        if len(self) < 2:
            return
        with self._guard():
            works = [dist.all_reduce(tensor, group=self._group, async_op=True) for tensor in tensors]
            for work in works:
                if work is not None:
                    work.wait()

    def let_go(self) -> None:
        """Hold on to the group no longer: its sockets close only then."""
        self._group, self.members = None, self.members[:1]

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """Everybody's, in rank order; all have one shape."""
        if len(self) < 2:
            return [tensor]
        found = [torch.empty_like(tensor) for _ in self.members]
        with self._guard():
            dist.all_gather(found, tensor, group=self._group)
        return found


class OneRank(Ranks):
    """Where there is no group."""

    def __init__(self) -> None:
        self.members = (0,)
        self._guard = contextlib.nullcontext
        self._group = None
