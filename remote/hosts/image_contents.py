"""What a host's container image holds, once somebody has looked into it: what ranks there will have.

`remote.containers` looks; `remote.hosts.Hosts` keeps it, as it keeps the Python of an environment.

    >>> inside.seen_by(probe).torch            # not the torch of the host, which need have none
    '2.6.0+cu124'
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from remote.probe import Probe
from trainer.spec import Container


@dataclass(frozen=True, slots=True, kw_only=True)
class Inside:
    container: Container
    python: str  # version
    torch: str  # version; empty where there is none, as is the next
    torch_cuda: str

    def seen_by(self, probe: Probe) -> Probe:
        """What the host says of itself, as a rank in the container would."""
        return replace(probe, torch=self.torch, torch_cuda=self.torch_cuda)
