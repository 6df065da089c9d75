"""What `run.prepare` was given: whose gradients are averaged, what is put back when a step breaks, what a state holds.

The objects stay the user's own. Modules are moved to the device in place, so an optimizer that was made before goes on
with the same parameters.

>>> prepared = Prepared([model, optimizer, schedule], torch.device("cpu"))
>>> prepared.note()
>>> ...                 # a step that breaks
>>> prepared.undo()     # buffers, random numbers, rates, schedule and scaler as they were
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from motley.trainer.api.misuse import misuse
from motley.trainer.api.plain_state import packed, unpacked
from motley.trainer.errors import SessionError, told
from motley.trainer.training.step_undo import StepUndo

_UNCHANGING = {bool, int, float, str, type(None)}  # most of a state is of these: no copy is needed


class Prepared:
    """`modules`, `optimizers`, and `others` (schedules, scalers, averages), each in the order that they were given."""

    def __init__(self, objects: Sequence[Any], device: torch.device) -> None:
        """Raises SessionError for what has no state to keep."""
        for number, one in enumerate(objects, 1):
            if not (hasattr(one, "state_dict") and hasattr(one, "load_state_dict")):
                raise misuse(
                    f"run.prepare: number {number} is a {type(one).__name__}, which has no state_dict",
                    "Give it models, optimizers, schedules and scalers; a Dataset goes to run.steps",
                )
        self.modules = [one for one in objects if isinstance(one, nn.Module)]
        self.optimizers = [one for one in objects if isinstance(one, torch.optim.Optimizer)]
        known = [*self.modules, *self.optimizers]
        self.others = [one for one in objects if not any(one is other for other in known)]
        for module in self.modules:
            before = list(module.parameters())
            module.to(device)
            if any(old is not new for old, new in zip(before, module.parameters())):
                raise misuse("run.prepare: moving the model made new parameters", "Make it on the device at once")
        for optimizer in self.optimizers:
            move_state(optimizer)
        self._in_modules = [p for module in self.modules for p in module.parameters()]
        self._undo = StepUndo(nn.ModuleList(self.modules), device)
        self._noted: tuple[list[Any], list[Any]] = ([], [])
        self._begun: tuple[list[Any], list[Any]] | None = None  # as the step had left it, once it is undone
        self._resting: list[tuple[_BatchNorm, nn.Module, bool]] = []  # with its model, and whether that was training

    def parameters(self) -> list[Tensor]:
        """Whose gradients all ranks average: those that an optimizer updates; without one, those of the modules."""
        if self.optimizers:
            found = [p for optimizer in self.optimizers for group in optimizer.param_groups for p in group["params"]]
        else:
            found = [p for module in self.modules for p in module.parameters()]
        return [p for p in dict.fromkeys(found) if p.requires_grad]

    def clear_gradients(self) -> None:
        for parameter in self._in_modules:
            parameter.grad = None
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    parameter.grad = None

    def note(self) -> None:
        """Before a step: what it may change before its gradients are averaged. Parameters change only afterwards."""
        self._undo.note()
        self._noted, self._begun = self._plain(), None

    def undo(self) -> None:
        if self._begun is None:
            self._begun = self._plain()
        self._undo.undo()
        self._put(self._noted)

    def redo(self) -> None:
        if self._begun is not None:
            self._undo.redo()
            self._put(self._begun)
            self._begun = None

    def restore_buffers(self) -> None:
        """Of a rank without samples of its own: what it went through leaves no trace."""
        self._undo.restore()

    def rest_batchnorm(self) -> None:
        """Until `wake_batchnorm`, layers that train use their running statistics, as `trainer.training.batchnorm` has
        it: a single sample has none of its own, and one that is borrowed must leave no trace.

        SyncBatchNorm has those of all ranks: they would wait for one that asks for none.
        """
        for module in self.modules:
            for layer in module.modules():
                if isinstance(layer, _BatchNorm) and not isinstance(layer, nn.SyncBatchNorm) and layer.training:
                    layer.eval()
                    self._resting.append((layer, module, module.training))

    def wake_batchnorm(self) -> None:
        for layer, module, trained in self._resting:
            if module.training == trained:  # else the user has said model.eval() meanwhile
                layer.train()
        self._resting.clear()

    @contextmanager
    def undone(self) -> Iterator[None]:
        """As it was before the step, for as long as somebody looks at it."""
        now = self._plain()
        with self._undo.undone():
            self._put(self._noted)
            try:
                yield
            finally:
                self._put(now)

    def _plain(self) -> tuple[list[Any], list[Any]]:
        """Rates and so on of the optimizers, and the states of the others."""
        return [groups_of(one) for one in self.optimizers], [snapshot(one.state_dict()) for one in self.others]

    def _put(self, noted: tuple[list[Any], list[Any]]) -> None:
        for optimizer, groups in zip(self.optimizers, noted[0]):
            put_groups(optimizer, groups)
        for one, state in zip(self.others, noted[1]):
            one.load_state_dict(copy.deepcopy(state))

    def scale(self) -> float:
        """What a torch.amp.GradScaler multiplies the loss by; 1 without one."""
        return math.prod(one.get_scale() for one in self.others if is_scaler(one))

    def unscaled(self, loss: Tensor) -> Tensor:
        """Without what torch.amp.GradScalers multiply it by now. The device is not waited for."""
        for one in self.others:
            if is_scaler(one):
                loss = loss / one.scale(torch.ones((), device=loss.device))
        return loss

    def scale_was_too_large(self) -> bool:
        """Whether a torch.amp.GradScaler has left out the step since `note`, and lowered its scale. A scale below 1 was
        not too large: the training is to blame."""
        scalers = [(one, state) for one, state in zip(self.others, self._noted[1]) if is_scaler(one)]
        return any(1 <= one.get_scale() < state["scale"] for one, state in scalers)

    def state(self) -> dict[str, Any]:
        """For a checkpoint: `model` and `optimizer` are the first of each, as torch reads them anywhere."""
        text, tensors = packed([one.state_dict() for one in self.others], "run.prepare")
        models = [module.state_dict() for module in self.modules]
        optimizers = [optimizer.state_dict() for optimizer in self.optimizers]
        return {
            "model": models[0] if models else {},
            "optimizer": optimizers[0] if optimizers else {},
            "session": {"models": models[1:], "optimizers": optimizers[1:], "others": text, "tensors": tensors},
        }

    def load(self, saved: Mapping[str, Any]) -> None:
        """What `state` gave. Raises SessionError when it is of other objects."""
        try:
            self._load(saved)
        except (KeyError, ValueError, RuntimeError) as error:
            raise SessionError(
                f"the checkpoint is not of the objects that run.prepare was given: {told(error)[0]}",
                "Give it the same ones, or start anew",
            ) from error

    def _load(self, saved: Mapping[str, Any]) -> None:
        more = saved["session"]
        for module, one in zip(self.modules, [saved["model"], *more["models"]]):
            module.load_state_dict(one)
        for optimizer, one in zip(self.optimizers, [saved["optimizer"], *more["optimizers"]]):
            optimizer.load_state_dict(one)
        others = unpacked(more["others"], more["tensors"])
        if len(others) != len(self.others):
            raise ValueError(f"it has the state of {len(others)} schedules and scalers, the script {len(self.others)}")
        for other, one in zip(self.others, others):
            other.load_state_dict(one)


def is_scaler(one: object) -> TypeGuard[torch.amp.GradScaler]:
    return isinstance(one, torch.amp.GradScaler) and one.is_enabled()


def snapshot(state: Any) -> Any:
    """A copy that no later change reaches, of what `state_dict` gave."""
    kind = type(state)
    if kind in _UNCHANGING:
        return state
    if kind is dict:
        return {name: snapshot(value) for name, value in state.items()}
    if kind is list:
        return [snapshot(value) for value in state]
    return copy.deepcopy(state)


def copied(value: Any) -> Any:
    return value if type(value) in _UNCHANGING else copy.copy(value)


def groups_of(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """Its parameter groups without the parameters: rates, betas and so on."""
    return [{k: copied(v) for k, v in group.items() if k != "params"} for group in optimizer.param_groups]


def put_groups(optimizer: torch.optim.Optimizer, groups: Sequence[dict[str, Any]]) -> None:
    for group, values in zip(optimizer.param_groups, groups):
        group.update(values)


def parameters_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def move_state(optimizer: torch.optim.Optimizer) -> None:
    """State that was made before its parameters were moved."""
    for parameter in parameters_of(optimizer):
        state = optimizer.state.get(parameter, {})
        for name, value in state.items():
            if isinstance(value, Tensor) and value.dim():
                state[name] = value.to(parameter.device)
