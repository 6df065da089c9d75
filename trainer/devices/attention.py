"""Which of torch's kernels compute the attention of token rows.

From torch 2.9 on cuDNN's go first on cards of compute capability 9.0 and 10.0 (H100, H200, B200; pytorch/pytorch, pull
request 162073). cuDNN builds a plan for each new number of rows and each new length, and the rows of nearly every step
are of another length than those before; so is each token of an answer. The flash kernels need none. On an H200 with
torch 2.11, a Llama of 135 million parameters and 16 rows of new lengths took 219 to 259 ms forward and backward with
cuDNN's attention, 99 to 121 ms without; rows of one length about 100 ms with either.

    >>> without_plans()
"""

from __future__ import annotations

import torch


def without_plans() -> None:
    """In this process from now on: cuDNN's attention is not taken."""
    torch.backends.cuda.enable_cudnn_sdp(False)
