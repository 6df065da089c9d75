"""What a collective raises: a group that broke, a group that NCCL never takes, or a fault of something else."""

from __future__ import annotations

import pytest
from torch.distributed import DistBackendError

from motley.trainer.api.ranks import GroupBroken, collective
from motley.trainer.errors import GroupRefused
from motley.trainer.rank.collective_errors import broken_by, is_broken_collective, refused

DUPLICATE = DistBackendError(
    "NCCL error in: /pytorch/torch/csrc/distributed/c10d/NCCLUtils.cpp:94, invalid usage (run with NCCL_DEBUG=WARN for "
    "details), NCCL version 2.28.9\nncclInvalidUsage: This usually reflects invalid usage of NCCL library.\n"
    "Last error:\nDuplicate GPU detected : rank 1 and rank 0 both on CUDA device 60"
)
GONE = DistBackendError(
    "NCCL error in: /pytorch/torch/csrc/distributed/c10d/NCCLUtils.cpp:94, remote process exited or there was a "
    "network error, NCCL version 2.28.9\nncclRemoteError: A call failed possibly due to a network error or a remote "
    "process exiting prematurely.\nLast error:\nsocketProgress: Connection closed by remote peer box2<43210>"
)
GLOO = RuntimeError(
    "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer [10.0.0.3]:4711. This may "
    "indicate that the remote has gone"
)


def test_two_ranks_on_one_card_are_no_group_that_broke_but_one_that_never_comes() -> None:
    error = refused(DUPLICATE)
    assert isinstance(error, GroupRefused)
    said = "Duplicate GPU detected : rank 1 and rank 0 both on CUDA device 60 (ncclInvalidUsage)"
    assert error.cause == f"NCCL does not take these ranks: {said}"
    assert 'backend = "gloo"' in error.remedy


@pytest.mark.parametrize("error", [GONE, GLOO, RuntimeError("NCCL error: ncclInvalidUsage")])
def test_no_other_error_is_a_refusal(error: Exception) -> None:
    assert refused(error) is None


def test_a_peer_that_has_gone_is_a_broken_group_in_the_words_of_the_library() -> None:
    assert is_broken_collective(GONE)
    assert broken_by(GONE) == "socketProgress: Connection closed by remote peer box2<43210> (ncclRemoteError)"
    assert is_broken_collective(GLOO)
    assert broken_by(GLOO) == "Connection closed by peer [10.0.0.3]:4711"
    assert broken_by(RuntimeError("")) == ""


def test_a_loop_of_ones_own_ends_with_a_refusal_and_goes_on_after_a_loss() -> None:
    with pytest.raises(GroupRefused, match="Duplicate GPU"), collective():
        raise DUPLICATE
    with pytest.raises(GroupBroken, match="ncclRemoteError"), collective():
        raise GONE
