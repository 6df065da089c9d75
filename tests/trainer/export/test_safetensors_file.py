"""Files that are written without the library are read by it, bit by bit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from motley.trainer.errors import TrainerError
from motley.trainer.export.safetensors_file import DTYPES, PIECE, laid_out


def written(tensors: Mapping[str, object], file: Path, **metadata: str) -> bytes:
    size, pieces = laid_out(tensors, metadata)
    file.write_bytes(b"".join(pieces))
    assert file.stat().st_size == size
    return file.read_bytes()


def read(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with safe_open(str(file), framework="pt") as opened:
        return {name: opened.get_tensor(name) for name in opened.keys()}, opened.metadata() or {}  # noqa: SIM118


def test_every_type_of_a_tensor_comes_back_as_it_was(tmp_path: Path) -> None:
    torch.manual_seed(1)
    some = torch.randn(3, 5, dtype=torch.float64) * 3
    tensors = {str(kind): some.abs().to(kind) for kind in DTYPES}
    content = written(tensors, tmp_path / "model.safetensors")
    found, metadata = read(tmp_path / "model.safetensors")
    assert metadata == {}
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert found[name].view(torch.uint8).equal(tensor.view(torch.uint8))
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    assert length % 8 == 0
    for name, row in header.items():  # where it lies it can be read in place
        assert (8 + length + row["data_offsets"][0]) % tensors[name].element_size() == 0


def test_odd_shapes_views_and_shared_weights_come_back(tmp_path: Path) -> None:
    base = torch.arange(24.0).reshape(4, 6)
    tensors = {
        "scalar": torch.tensor(3), "none": torch.zeros(0, 4), "across": base.T, "part": base[1:3, ::2],
        "tied": base, "tied again": base, "conjugate": torch.tensor([1 + 2j]).conj(), "läßt": base[0],
        "large": torch.arange(PIECE // 4 + 3, dtype=torch.int32), "learns": torch.nn.Parameter(base[2]),
    }  # fmt: skip
    written(tensors, tmp_path / "model.safetensors", run="night", classes='["a", "ü"]')
    found, metadata = read(tmp_path / "model.safetensors")
    assert metadata == {"run": "night", "classes": '["a", "ü"]'}
    assert found.keys() == tensors.keys()
    assert [name for name, tensor in tensors.items() if not found[name].equal(tensor)] == []


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        ({"step": 3}, "head of the model is a dict, and safetensors holds tensors"),
        (torch.zeros(2, dtype=torch.complex128), "head of the model is of torch.complex128"),
        (torch.eye(3).to_sparse(), "head of the model is of torch.sparse_coo"),
    ],
)
def test_what_the_format_can_t_hold_is_named(value: object, cause: str) -> None:
    with pytest.raises(TrainerError, match=cause) as raised:
        laid_out({"head": value}, {})
    assert ".pt" in raised.value.remedy
