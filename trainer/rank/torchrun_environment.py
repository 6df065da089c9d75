"""The environment of a script's rank as torchrun gives it: `torch.distributed`, and what is built on it, read it.

`MOTLEY_ANEW` is for `motley.session()`: the run goes on already, and its state comes from the others.

>>> env = environment(spec, group, member=2)
>>> env["RANK"], env["LOCAL_RANK"], env["WORLD_SIZE"], env["NODE_RANK"], env["MASTER_ADDR"]
('2', '0', '3', '1', '10.0.0.1')
"""

from __future__ import annotations

import os

from motley.trainer.contract.generation import Group
from motley.trainer.contract.spec import Spec


def environment(spec: Spec, group: Group, member: int) -> dict[str, str]:
    """Of one member of a group; ranks of a host are neighbours in it, as `remote.launch.placement` numbers them."""
    known = group.roll.members(spec.members)
    hosts = {m.member: m.host for m in known}
    devices = {m.member: m.device for m in known}
    nodes = list(dict.fromkeys(hosts[m] for m in group.members))
    local = [m for m in group.members if hosts[m] == hosts[member]]
    rank, world = str(group.rank), str(group.world_size)
    node = str(nodes.index(hosts[member]))
    return {
        "RANK": rank,
        "WORLD_SIZE": world,
        "LOCAL_RANK": str(local.index(member)),
        "LOCAL_WORLD_SIZE": str(len(local)),
        "GROUP_RANK": node,
        "NODE_RANK": node,
        "GROUP_WORLD_SIZE": str(len(nodes)),
        "ROLE_NAME": "default",
        "ROLE_RANK": rank,
        "ROLE_WORLD_SIZE": world,
        "MASTER_ADDR": group.store[0],
        "MASTER_PORT": str(group.store[1]),
        "TORCHELASTIC_RUN_ID": spec.run,
        "TORCHELASTIC_RESTART_COUNT": str(group.generation),
        "TORCHELASTIC_MAX_RESTARTS": str(spec.elastic.restarts),
        "MOTLEY_MEMBER": str(member),
        "MOTLEY_DEVICE": devices[member],
        "MOTLEY_RESTART": str(group.generation),
        **({"MOTLEY_ANEW": "1"} if group.anew else {}),
        **({"MOTLEY_DATA": os.path.expanduser(spec.data.path)} if spec.data.path else {}),
    }
