"""What errors say of a device's memory, word for word, and how much of it has to be free for those that name none."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.distributed import DistBackendError

from motley.trainer.devices import printed_errors
from motley.trainer.devices.memory_shortage import LITTLE, Shortage, names_memory, shortage
from motley.trainer.devices.printed_errors import Printed
from motley.trainer.errors import OutOfMemory, TaskError

GPU, SECOND, CPU = torch.device("cuda:0"), torch.device("cuda:1"), torch.device("cpu")
REST = (
    "\nSearch for `cudaErrorX' in https://docs.nvidia.com/cuda/ for more information.\nCUDA kernel errors might be "
    "asynchronously reported at some other API call, so the stacktrace below might be incorrect.\nFor debugging "
    "consider passing CUDA_LAUNCH_BLOCKING=1\nCompile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.\n"
)
NCCL = (
    "NCCL error in: /pytorch/torch/csrc/distributed/c10d/NCCLUtils.cpp:94, unhandled cuda error (run with "
    "NCCL_DEBUG=INFO for details), NCCL version 2.28.9\nncclUnhandledCudaError: Call to CUDA function failed.\n"
    "Last error:\n"
)
NAMED = (
    RuntimeError("CUDA error: out of memory" + REST),
    torch.AcceleratorError("CUDA error: out of memory" + REST) if hasattr(torch, "AcceleratorError") else
    RuntimeError("HIP error: out of memory" + REST),
    RuntimeError("CUDA driver error: out of memory"),
    RuntimeError("Triton Error [CUDA]: out of memory"),
    RuntimeError("HIP out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("HIP error: out of memory" + REST),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("CUDA error: HIPBLAS_STATUS_ALLOC_FAILED when calling `hipblasCreate(handle)`"),
    RuntimeError("cuFFT error: CUFFT_ALLOC_FAILED"),
    RuntimeError("miopenStatusAllocFailed"),
    RuntimeError("Enqueue failed.\nlevel_zero backend failed with error: 39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)"),
    DistBackendError(NCCL + "Cuda failure 2 'out of memory'"),
    DistBackendError(NCCL + "Failed to CUDA calloc async 4 bytes"),
)  # fmt: skip
UNCLEAR = (
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR",
    "cuDNN error: CUDNN_STATUS_NOT_INITIALIZED",
    "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
    "cusolver error: CUSOLVER_STATUS_INTERNAL_ERROR, when calling `cusolverDnCreate(handle)`",
    "GET was unable to find an engine to execute this computation",
    "miopenStatusUnknownError",
    "level_zero backend failed with error: 40 (UR_RESULT_ERROR_OUT_OF_RESOURCES)",
)
OTHERS = (
    RuntimeError("CUDA error: an illegal memory access was encountered" + REST),
    RuntimeError("CUDA error: device-side assert triggered" + REST),
    RuntimeError("CUDA error: misaligned address" + REST),
    RuntimeError("CUDA error: unspecified launch failure" + REST),
    RuntimeError("CUDA error: device-side assert triggered, then CUBLAS_STATUS_ALLOC_FAILED"),
    RuntimeError("level_zero backend failed with error: 20 (UR_RESULT_ERROR_DEVICE_LOST)"),
    RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED"),
    RuntimeError("out of resource: shared memory, Required: 262144, Hardware limit: 232448"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: …"),
    RuntimeError("mat1 and mat2 shapes cannot be multiplied (4x3 and 6x2)"),
    ValueError("CUDA error: out of memory"),
    OutOfMemory("cuda:0: one sample does not fit into its memory (CUDA out of memory.)"),
)


def nothing(_device: torch.device) -> int:
    return 0


def plenty(_device: torch.device) -> int:
    return 64 << 30


def unusable(_device: torch.device) -> int:
    raise RuntimeError("CUDA error: device-side assert triggered" + REST)


def silent(_device: torch.device) -> None:
    """As some of Intel's cards are."""


@pytest.mark.parametrize("free", [nothing, plenty, unusable, silent])
def test_torch_s_own_error_always_says_so(free: Any) -> None:
    error = torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 MiB")
    assert shortage(error, (GPU,), free) == Shortage("CUDA out of memory.", sure=True, outside=False)
    assert shortage(torch.OutOfMemoryError(), (GPU,), free) == Shortage("OutOfMemoryError", sure=True, outside=False)


@pytest.mark.parametrize("error", NAMED, ids=str)
def test_what_names_memory_says_so_however_much_is_free_of_a_card_that_works(error: Exception) -> None:
    for free in (nothing, plenty, silent):
        found = shortage(error, (GPU,), free)
        assert found is not None
        assert (found.sure, found.outside) == (True, True)
        assert found.reason in str(error)
        assert re.search(printed_errors.OUT_OF_MEMORY.says, found.reason)
    assert shortage(error, (GPU,), unusable) is None
    assert shortage(error, (CPU,)) is not None
    assert names_memory(error)


@pytest.mark.parametrize("text", UNCLEAR)
def test_what_names_none_says_so_where_next_to_nothing_is_free(text: str) -> None:
    error = RuntimeError(text)
    assert shortage(error, (GPU,), nothing) == Shortage(text, sure=False, outside=True)
    assert shortage(error, (GPU,), lambda _device: LITTLE - 1) is not None
    assert shortage(error, (GPU,), lambda _device: LITTLE) is None
    assert shortage(error, (GPU, SECOND), lambda device: 0 if device == SECOND else 64 << 30) is not None
    for free in (plenty, unusable, silent):
        assert shortage(error, (GPU,), free) is None
    assert shortage(error, (CPU,)) is None
    assert not names_memory(error)


@pytest.mark.parametrize("error", OTHERS, ids=str)
def test_anything_else_is_not_of_memory_on_a_full_card_either(error: Exception) -> None:
    assert shortage(error, (GPU,), nothing) is None
    assert not names_memory(error)


def test_what_a_card_says_that_is_too_full_even_to_answer() -> None:
    def no_context(_device: torch.device) -> int:
        raise RuntimeError("CUDA error: out of memory" + REST)

    assert shortage(RuntimeError(UNCLEAR[0]), (GPU,), no_context) is not None


def test_the_memory_of_the_machine_counts_where_the_cpu_computes() -> None:
    error = RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 4 bytes.")
    assert shortage(error, (CPU,)) == Shortage(str(error), sure=False, outside=True)  # its size may be a mistake
    assert shortage(error, ()) is not None
    assert shortage(error, (GPU,), nothing) is None


def test_the_error_that_another_was_raised_from_counts() -> None:
    def of(cause: Exception) -> TaskError:
        found = TaskError(f"night.py:31: RuntimeError: {cause}", "Mend it")
        found.__cause__ = cause
        return found

    assert shortage(of(RuntimeError(UNCLEAR[0])), (GPU,), nothing) == Shortage(UNCLEAR[0], sure=False, outside=True)
    assert shortage(of(RuntimeError("no such layer")), (GPU,), nothing) is None


def test_an_error_that_was_raised_from_itself_has_an_end() -> None:
    error = RuntimeError("no such layer")
    error.__cause__ = error
    assert shortage(error, (GPU,), nothing) is None


def test_a_card_is_waited_for_before_its_driver_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def module(free: Any) -> None:
        card = SimpleNamespace(synchronize=lambda _device: asked.append("synchronize"), mem_get_info=free)
        monkeypatch.setattr(torch, "get_device_module", lambda _device: card)

    def little(_device: torch.device) -> tuple[int, int]:
        asked.append("free")
        return 100 << 20, 80 << 30

    module(little)
    assert shortage(RuntimeError(UNCLEAR[0]), (GPU,)) is not None
    assert asked == ["synchronize", "free"]
    module(unusable)  # as a card of Intel's that doesn't say it
    assert shortage(RuntimeError(UNCLEAR[0]), (GPU,)) is None
    assert shortage(NAMED[0], (GPU,)) is not None


def test_the_examples_are_found_by_their_expressions() -> None:
    printed = [one for one in vars(printed_errors).values() if isinstance(one, Printed)]
    assert len(printed) > 5
    for one in printed:
        assert re.search(one.says, one.example)
