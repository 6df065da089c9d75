"""`torch.compile` for the forward pass of training: `run.compile`.

The first dimension of every input is marked as dynamic, so a share of another size is computed by the same code.
What cannot be compiled is computed as it is: the run goes on, and says why.

    >>> compilation = Compilation([model])
    >>> compilation.give_up("no C++ compiler")     # from now on without
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
import torch._dynamo
from torch import Tensor, nn

from motley.trainer.host.paths import runs_folder

BACKEND = "inductor"


class Compilation:
    """Of these modules, which are those to compile for themselves. Names of parameters stay."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self.calls = 0  # of compiled code
        self.why_not = ""  # once it has been given up
        cache = runs_folder().parent / "cache" / "torchinductor"
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache))
        torch._dynamo.config.optimize_ddp = False  # it cuts graphs at DDP's buckets, and knows no dynamic shapes
        for module in modules:
            module.forward = self._compiled(module, module.forward)

    def give_up(self, error: BaseException) -> None:
        """Compute without from now on. The cause is what a compiler or a tracer of torch's said."""
        cause = getattr(error, "inner_exception", None) or error
        said = (str(cause).strip().splitlines() or [""])[0]
        self.why_not = f"{type(cause).__name__}: {said}".rstrip(": ")

    @contextlib.contextmanager
    def left_out(self) -> Iterator[None]:
        """Compute without for a while."""
        before, self.why_not = self.why_not, "left out"
        try:
            yield
        finally:
            self.why_not = before

    def _compiled(self, module: nn.Module, plain: Callable[..., Any]) -> Callable[..., Any]:
        try:
            quick = torch.compile(plain, backend=BACKEND)
        except RuntimeError as error:  # this Python is too new for it
            self.give_up(error)
            return plain

        def forward(*args: Any, **kwargs: Any) -> Any:
            trains = module.training and torch.is_grad_enabled()
            if self.why_not or not trains or any(_is_single(given) for given in (*args, *kwargs.values())):
                return plain(*args, **kwargs)
            for given in (*args, *kwargs.values()):
                _mark(given)
            try:
                found = quick(*args, **kwargs)
            except torch._dynamo.exc.TorchDynamoException as error:
                self.give_up(error)
                return plain(*args, **kwargs)
            self.calls += 1
            return found

        return forward


def _tensors(given: Any) -> Iterable[Tensor]:
    if isinstance(given, Tensor):
        if given.dim():
            yield given
    elif isinstance(given, (tuple, list)):
        for part in given:
            yield from _tensors(part)
    elif isinstance(given, dict):
        yield from _tensors(list(given.values()))


def _is_single(given: Any) -> bool:
    """One sample, for which torch would compile anew: sizes of 0 and 1 are never dynamic."""
    return any(len(tensor) < 2 for tensor in _tensors(given))


def _mark(given: Any) -> None:
    for tensor in _tensors(given):
        torch._dynamo.maybe_mark_dynamic(tensor, 0)
