"""What torch and the libraries of its devices print when one fails: regular expressions, each with an example.

`motley` finds the cause of a failed run by them (`remote.diagnosis.causes`).

    >>> bool(re.search(NO_SUCH_DEVICE.says, NO_SUCH_DEVICE.example))
    True
"""

from __future__ import annotations

from typing import NamedTuple


class Printed(NamedTuple):
    says: str  # a regular expression
    example: str


OUT_OF_MEMORY = Printed(
    r"(?:CUDA|HIP|XPU|MPS backend|CUDA driver|Triton Error \[\w+\])(?: error)?:? out of memory"
    r"|CUDA_ERROR_OUT_OF_MEMORY|cudaErrorMemoryAllocation|hipErrorOutOfMemory|UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY"
    r"|\w+_STATUS_(?:INTERNAL_ERROR_DEVICE_)?ALLOC(?:ATION)?_FAILED|CUFFT_ALLOC_FAILED|miopenStatusAllocFailed"
    r"|rocblas_status_memory_error|Cuda failure.*out of memory|Failed to CUDA [cm]alloc"
    r"|torch\.(?:cuda\.)?OutOfMemoryError",
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",
)
# What libraries say on a full card, and for other reasons: https://github.com/pytorch/pytorch/issues/81620
MAYBE_OUT_OF_MEMORY = Printed(
    r"\w+_STATUS_(?:INTERNAL_ERROR|NOT_INITIALIZED|INITIALIZATION_FAILED)\b|CUFFT_INTERNAL_ERROR"
    r"|unable to find an engine to execute|miopenStatus(?:InternalError|NotInitialized|UnknownError)"
    r"|(?:UR_RESULT|PI)_ERROR_OUT_OF_RESOURCES",
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR",
)
OUT_OF_HOST_MEMORY = Printed(
    r"DefaultCPUAllocator: (?:can't allocate|not enough) memory",
    "DefaultCPUAllocator: can't allocate memory: you tried to allocate 4000000000 bytes.",
)
UNUSABLE_DEVICE = Printed(  # to all that this process asks of it from then on
    r"device-side assert triggered|illegal (?:memory access|instruction|address)|misaligned address"
    r"|invalid (?:program counter|device pointer)|unspecified launch failure|launch timed out|hardware stack error"
    r"|uncorrectable (?:ECC|NVLink)|_ERROR_DEVICE_LOST",
    "CUDA error: an illegal memory access was encountered",
)
NO_CODE_FOR_DEVICE = Printed(
    r"no kernel image is available|CUDA error: invalid device function|compatible with the current PyTorch",
    "CUDA error: no kernel image is available for execution on the device",
)
NO_SUCH_DEVICE = Printed(
    r"not compiled with CUDA|Found no NVIDIA driver|No CUDA GPUs are available|no CUDA-capable device"
    r"|invalid device ordinal",
    "AssertionError: Torch not compiled with CUDA enabled",
)
INDEX_OUT_OF_RANGE = Printed(r"device-side assert triggered", "CUDA error: device-side assert triggered")
NCCL_FAILED = Printed(
    r"NCCL error|ncclSystemError|ncclUnhandledCudaError|ncclInternalError|ncclInvalidUsage",
    "torch.distributed.DistBackendError: NCCL error in: NCCLUtils.hpp:275, unhandled system error",
)
AT_EACH_CALL = 'CUDA_LAUNCH_BLOCKING = "1"'  # in the environment of ranks: an error is told at the line that caused it
