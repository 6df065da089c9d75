"""Parameters and buffers that every host has by itself, such as the frozen weights of a model that it has on its disk:
those of which `Task.travels` says False. They are neither sent to other hosts nor kept in checkpoints.

>>> local = LocalWeights.of(task, model)
>>> local.without(model.state_dict())           # what a checkpoint holds
>>> local.check(saved["local"], "final.pt")     # raises, where it was trained on other ones
>>> local.told_in(data.fingerprint())           # for the coordinator, which compares those of all ranks
>>> local.load(model, saved["model"])           # the local ones stay as they are

What a checkpoint was trained on it says by `table`: the names, and a digest of shapes and of some values of each tensor
of floating-point numbers, rounded to bfloat16. So it is the same for weights in float32 and in bfloat16, which hosts
may choose by what their devices can do. Of quantised ones, whose bytes depend on the device, the name alone counts.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from motley.trainer.contract.data_fingerprint import FROZEN, DataFingerprint
from motley.trainer.errors import CheckpointError, TaskError
from motley.trainer.tasks.task import Task
from motley.trainer.tasks.user_code import user_code, written_at

VALUES = 64  # of each tensor, spread evenly, that are in the digest
DIGITS = 16  # of the digest


@dataclass(frozen=True, slots=True)
class LocalWeights:
    """`keys`: in the `state_dict`; `names`: of parameters and buffers, also of those that are not in it."""

    keys: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    table: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, task: Task, model: nn.Module) -> LocalWeights:
        """Of a model as the task has made it. Raises TaskError for one that is trained and would not travel."""
        if type(task).travels is Task.travels:
            return NONE
        tensors = dict(_named(model))
        with user_code(task.project):
            stays = {name for name in {*tensors, *model.state_dict()} if not task.travels(name)}
        shared = {id(tensor) for name, tensor in tensors.items() if name not in stays}  # tied to one that travels
        stays -= {name for name in stays & tensors.keys() if id(tensors[name]) in shared}
        trained = sorted(name for name in stays & tensors.keys() if tensors[name].requires_grad)
        if trained:
            raise TaskError(
                f"{written_at(task.travels, task.project)}: {trained[0]} is trained, and is not to travel",
                "Let it travel, or freeze it: parameter.requires_grad_(False)",
            )
        if not stays:
            return NONE
        keys = stays & model.state_dict().keys()
        return cls(keys=frozenset(keys), names=frozenset(stays & tensors.keys()), table=_table(tensors, keys))

    @classmethod
    def named(cls, model: nn.Module, names: Iterable[str]) -> LocalWeights:
        """Those of a model that are called so, as far as it has them."""
        tensors, wanted = dict(_named(model)), set(names)
        return cls(keys=frozenset(wanted), names=frozenset(wanted), table=_table(tensors, wanted))

    def without(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """A `state_dict` less those that stay."""
        return {name: value for name, value in state.items() if name not in self.keys}

    def parameters(self, model: nn.Module) -> list[nn.Parameter]:
        """Those that travel, each once."""
        return [p for names, p in _by_tensor(model.named_parameters(remove_duplicate=False)) if self._travels(names)]

    def buffers(self, model: nn.Module) -> list[Tensor]:
        """The same of buffers."""
        return [b for names, b in _by_tensor(model.named_buffers(remove_duplicate=False)) if self._travels(names)]

    def load(self, model: nn.Module, state: Mapping[str, Any]) -> None:
        """What `without` has left of a `state_dict`, into a model. Raises RuntimeError, as torch does, for another
        model's."""
        if not self.keys:
            model.load_state_dict(state)
            return
        missing, unexpected = model.load_state_dict(self.without(state), strict=False)
        if lacking := [name for name in missing if name not in self.keys]:
            raise RuntimeError(f"the state lacks {', '.join(lacking)}")
        if unexpected:
            raise RuntimeError(f"the model has no {', '.join(unexpected)}")

    def told_in(self, data: DataFingerprint) -> DataFingerprint:
        """What a host with other weights is refused by before it is in a group, beside that of its data."""
        if not self.table:
            return data
        return dataclasses.replace(data, identity=(*data.identity, (FROZEN, _told(self.table))))

    def check(self, then: Mapping[str, Any] | None, of: str) -> None:
        """`then`: the `table` of what `of` was trained on; None or empty where all was in it. Raises CheckpointError
        for another one."""
        then = then or {}
        old, new = list(then.get("names", ())), list(self.table.get("names", ()))
        if old != new:
            name = min({*old} ^ {*new})
            how = "is no such one any more" if name in old else "was none, and is one now"
            raise CheckpointError(
                f"{of} leaves {len(old)} weights to each host, the model now {len(new)}: {name} {how}",
                "Go on with the settings of then, or start anew",
            )
        if then.get("digest") != self.table.get("digest"):
            raise CheckpointError(
                f"{of} was trained on other weights than the model now begins with ({_some(old)}): their digest was "
                f"{_told(then)}, now it is {_told(self.table)}",
                "Give it the model that it was trained on, or start anew",
            )

    def _travels(self, names: list[str]) -> bool:
        return not self.names.issuperset(names)


NONE = LocalWeights()


def _some(names: list[str]) -> str:
    return f"{names[0]} and {len(names) - 1} more" if len(names) > 1 else names[0]


def _told(table: Mapping[str, Any]) -> str:
    return f"{table.get('digest')} ({', '.join(table.get('dtypes', ()))})"


def _named(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """All parameters and buffers, a tied one under each of its names."""
    yield from model.named_parameters(remove_duplicate=False)
    yield from model.named_buffers(remove_duplicate=False)


def _by_tensor(named: Iterator[tuple[str, Any]]) -> Iterator[tuple[list[str], Any]]:
    """Each once, in the order of the model, with all its names."""
    found: dict[int, tuple[list[str], Any]] = {}
    for name, tensor in named:
        found.setdefault(id(tensor), ([], tensor))[0].append(name)
    yield from found.values()


def _table(tensors: Mapping[str, Tensor], keys: set[str]) -> dict[str, Any]:
    """Buffers that are not in the `state_dict` follow from the rest."""
    names = keys & tensors.keys()
    dtypes = sorted({str(tensors[name].dtype).removeprefix("torch.") for name in names})
    return {"names": sorted(names), "digest": _digest(tensors, names), "dtypes": dtypes}


@torch.no_grad()
def _digest(tensors: Mapping[str, Tensor], names: set[str]) -> str:
    digest = hashlib.sha256()
    for name in sorted(names):
        tensor = tensors[name].detach()
        digest.update(f"{name}\n".encode())
        if not tensor.is_floating_point() or tensor.element_size() < 2:
            continue
        digest.update(f"{list(tensor.shape)}\n".encode())
        count, most = tensor.numel(), min(VALUES, tensor.numel())
        if not count or tensor.is_meta:
            continue
        at = torch.tensor([count * (2 * i + 1) // (2 * most) for i in range(most)])
        values = tensor.reshape(-1)[at.to(tensor.device)].to(torch.bfloat16).cpu()
        digest.update(bytes(values.view(torch.uint8).tolist()))
    return digest.hexdigest()[:DIGITS]
