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
    r"(?:CUDA|HIP) out of memory|CUDA error: out of memory|Cuda failure.*out of memory|\w+_STATUS_ALLOC_FAILED"
    r"|torch\.(?:cuda\.)?OutOfMemoryError",
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",
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
