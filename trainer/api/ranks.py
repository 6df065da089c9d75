"""The ranks of one group, and what they tell each other: the only place where a loop of the user's own calls torch's
collectives. A group that breaks is known by the call that raised, never by an error's words.

>>> ranks = Ranks(broken=lambda: False)
>>> ranks.add_up([tensor])              # raises GroupBroken when a peer has gone
>>> ranks.gather(torch.tensor([3, 4]))
[tensor([1, 2]), tensor([3, 4])]
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from motley.trainer.errors import TrainerError
from motley.trainer.rank.collective_errors import broken_by, is_broken_collective, refused

LOOK_EVERY = timedelta(seconds=0.5)
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
        if (refusal := refused(error)) is not None:
            raise refusal from None
        said = broken_by(error) if str(error) else ""
        if not is_broken_collective(error):  # perhaps a fault of one rank's, which comes again and again
            said = f"{type(error).__name__}: {said}".rstrip(": ")
        raise GroupBroken(said) from None  # its traceback holds on to the group's sockets
    finally:
        in_collective.clear()


class Ranks:
    """Collectives of the default process group, or of some of its ranks; of one rank alone they are nothing."""

    def __init__(self, *, broken: Callable[[], bool] | None, some: Sequence[int] | None = None) -> None:
        """`broken`: whether the group is none any more, by what the coordinator says: then nobody is waited for. None
        where nothing goes on without a peer: errors are raised as they are.

        `some`: the ranks that take part, by default all. All ranks of the group must make it, in the same order.
        """
        self.members = tuple(some) if some is not None else tuple(range(dist.get_world_size()))
        self.broken = broken
        self._guard = collective if broken is not None else contextlib.nullcontext
        self._group = dist.new_group(list(some)) if some is not None else None

    def __len__(self) -> int:
        return len(self.members)

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """In place, over all ranks."""
        if len(self) < 2:
            return
        with self._guard():
            works = [dist.all_reduce(tensor, group=self._group, async_op=True) for tensor in tensors]
            self._wait(works, on_cpu=all(tensor.is_cpu for tensor in tensors))

    def let_go(self) -> None:
        """Hold on to the group no longer: its sockets close only then."""
        self._group, self.members = None, self.members[:1]

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """Everybody's, in rank order; all have one shape."""
        if len(self) < 2:
            return [tensor]
        found = [torch.empty_like(tensor) for _ in self.members]
        with self._guard():
            self._wait([dist.all_gather(found, tensor, group=self._group, async_op=True)], on_cpu=tensor.is_cpu)
        return found

    def _wait(self, works: Sequence[dist.Work | None], *, on_cpu: bool) -> None:
        """Until they are done. In a broken group one of them may never be: `trainer.rank.group_sockets` says why. NCCL,
        which takes a bound for an order to end its group, is not given one."""
        for work in works:
            while work is not None:
                if self.broken is None or not on_cpu or work.is_completed():
                    work.wait()
                    break
                with contextlib.suppress(RuntimeError):  # its own is raised above
                    work.wait(LOOK_EVERY)
                if self.broken() and not work.is_completed():
                    raise GroupBroken("the connection to another rank broke")


class OneRank(Ranks):
    """Where there is no group."""

    def __init__(self) -> None:
        self.members = (0,)
        self.broken = None
        self._guard = contextlib.nullcontext
        self._group = None
