"""The loss of token rows in parts is the loss of all logits at once, and so are its gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from motley.trainer.llm.token_loss import counted, shifted, token_loss


def batch(*, rows: int = 4, length: int = 11) -> tuple[Tensor, Tensor, nn.Linear]:
    torch.manual_seed(2)
    hidden = torch.randn(rows, length, 6, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 17, (rows, length))
    labels[0, 3:7] = labels[2, :] = labels[1, -1] = -100
    return hidden, labels, nn.Linear(6, 17, bias=False).double()


def plain(hidden: Tensor, labels: Tensor, head: nn.Module) -> Tensor:
    """[n]"""
    losses = functional.cross_entropy(head(hidden)[:, :-1].transpose(1, 2), labels[:, 1:], reduction="none")
    return losses.sum(1)


@pytest.mark.parametrize("chunk", [0, 1, 3, 1024])
def test_it_is_exact_whatever_is_held_at_once(chunk: int) -> None:
    hidden, labels, head = batch()
    weights = torch.tensor([1.0, -2.0, 3.0, 0.5], dtype=torch.float64)
    found, expected = token_loss(hidden, shifted(labels), head, chunk=chunk), plain(hidden, labels, head)
    assert torch.allclose(found, expected, rtol=1e-12, atol=0.0)
    learns = (hidden, head.weight)
    ours = torch.autograd.grad((found * weights).sum(), learns)
    theirs = torch.autograd.grad((expected * weights).sum(), learns)
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.allclose(mine, other, rtol=1e-12, atol=1e-14)


def test_logits_of_one_chunk_at_most_are_there_at_once() -> None:
    hidden, labels, head = batch()
    widths: list[int] = []
    head.register_forward_hook(lambda _module, _given, logits: widths.append(len(logits)))
    loss = token_loss(hidden, shifted(labels), head, chunk=5).sum()
    count = counted(labels)
    assert (sum(widths), max(widths)) == (count, 5)
    saved: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        saved.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        token_loss(hidden, shifted(labels), head, chunk=5)
    assert not [tensor for tensor in saved if tensor.dim() == 2 and tensor.shape[1] == 17 and len(tensor) != 17]
    widths.clear()
    torch.autograd.backward(loss)
    assert sum(widths) == count  # once more


def test_without_a_label_that_counts_there_are_gradients_of_0() -> None:
    hidden, labels, head = batch()
    loss = token_loss(hidden, shifted(torch.full_like(labels, -100)), head, chunk=4)
    torch.autograd.backward(loss.sum())
    assert loss.tolist() == [0.0] * 4
    assert hidden.grad is not None
    assert head.weight.grad is not None
    assert float(hidden.grad.abs().max()) == float(head.weight.grad.abs().max()) == 0.0


def test_16_bit_logits_are_summed_in_float32() -> None:
    hidden, labels, head = batch()
    loss = token_loss(hidden.detach().bfloat16(), shifted(labels), head.bfloat16(), chunk=4)
    assert loss.dtype == torch.float32


def test_no_row_predicts_the_first_token_of_the_next_one_in_its_pack() -> None:
    labels = torch.tensor([[1, 2, 3, 4, 5, -100]])
    segments = torch.tensor([[0, 0, 0, 1, 1, 2]])
    assert shifted(labels, segments).tolist() == [[2, 3, -100, 5, -100, -100]]
    assert shifted(labels).tolist() == [[2, 3, 4, 5, -100, -100]]
    assert (counted(labels, segments), counted(labels)) == (3, 4)
