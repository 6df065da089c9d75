"""The process group of a generation: a TCPStore in rank 0 on the cluster's interface, gloo or NCCL on top.

Which of the two is chosen by `trainer.contract.backend`. That a group has broken a rank hears in `coordinator_client`,
or by what a collective raises (`collective_errors`).
"""

from __future__ import annotations

import gc
import socket
import threading
from datetime import timedelta

import torch.distributed as dist
from torch.distributed import distributed_c10d

from motley.trainer.contract.generation import Group
from motley.trainer.devices.names import group_backends
from motley.trainer.rank.group_sockets import plain

ENDS_S = 0.5  # for the threads of a group that is left; else that is nobody's concern


def listen(address: str) -> socket.socket:
    """The socket for rank 0's TCPStore: bound to our address only, on a port the kernel picks."""
    listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    listener.bind((address, 0))
    listener.listen(1024)
    return listener


def join(group: Group, listener: socket.socket | None, *, backend: str, timeout_s: float) -> None:
    """Make the process group. Rank 0 keeps the store on `listener`; the others' are closed."""
    address, port = group.store
    timeout = timedelta(seconds=timeout_s)
    leads = group.rank == 0 and listener is not None
    if listener is not None and not leads:
        listener.close()
    store = dist.TCPStore(
        address,
        port,
        group.world_size,
        is_master=leads,
        timeout=timeout,
        wait_for_workers=False,
        master_listen_fd=listener.detach() if listener is not None and leads else None,
    )
    dist.init_process_group(
        backend=group_backends(backend),
        store=dist.PrefixStore(f"generation {group.generation}", store),
        rank=group.rank,
        world_size=group.world_size,
        timeout=timeout,
    )


def addresses(own: str) -> set[str]:
    """Those of all members in the cluster, as each says its own. A collective."""
    store, world = distributed_c10d._get_default_store(), dist.get_world_size()
    store.set(f"address {dist.get_rank()}", plain(own))
    return {store.get(f"address {rank}").decode() for rank in range(world)}


def leave() -> None:
    """Let go of the process group, so that its sockets close and nobody waits on them.

    Whoever still refers to it (a DDP wrapper, an exception with its traceback) keeps them open: drop those first.

    Its end waits for the threads of its backend. In a group that broke one of them may hang until the collective's own
    timeout (`coordinator_client` tells why): it does so by itself then, after `ENDS_S`.
    """
    gc.collect()
    if dist.is_initialized():
        groups = list(distributed_c10d._world.pg_map)
        dist.destroy_process_group()
        gc.collect()
        end = threading.Thread(target=groups.clear, name="end of a process group", daemon=True)
        end.start()
        end.join(ENDS_S)
    # torch names a group in the store by how many it has made. Destroying the group starts that count anew; one that
    # broke while it was made does not, and this rank would wait for ever under a name that the others do not use.
    distributed_c10d._world.group_count = 0
