"""Memory that runs out in the words of a library, on a full card: what is tried again, and what not."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributed import DistBackendError

from motley.trainer.devices import accelerator, memory_shortage
from motley.trainer.errors import TaskError, TrainerError
from motley.trainer.tasks.task import Task
from motley.trainer.training.job import Job
from motley.trainer.training.loop import train_step
from tests.trainer.ranks import make_job, run_ranks
from tests.trainer.test_memory import Dots, options

pytestmark = pytest.mark.ranks

CUBLAS = "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"
CUDNN = "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR"
FULL = "CUDA error: out of memory"
ILLEGAL = "CUDA error: an illegal memory access was encountered"


class Library(Task):
    """A pass of more than `room` samples fails as `says`. Of a single one, the first `fails` times. In the user's own
    code where there is a `project`."""

    name = "library"

    def __init__(self, room: int, says: str, project: Path | None, fails: int = 0) -> None:
        super().__init__()
        self.room, self.says, self.project, self.fails = room, says, project, fails
        self.sizes: list[int] = []
        self.held: list[weakref.ref[Tensor]] = []  # what the passes have computed
        self.left: list[int] = []  # how much of that there was when the next began
        self.data = Dots(room=1000)

    def model(self) -> nn.Module:
        return self.data.model()

    def train_data(self) -> tuple[Tensor, Tensor]:
        return self.data.train_data()

    def forward(self, model: Any, batch: Any) -> Tensor:
        images = batch[0]
        self.left.append(sum(one() is not None for one in self.held))
        self.sizes.append(len(images))
        hidden: Tensor = torch.relu(model.first(images))
        self.held = [weakref.ref(hidden)]
        outputs: Tensor = model.third(torch.relu(model.second(model.norm(hidden))))
        return outputs if self.project else self.kept(outputs)

    def kept(self, outputs: Tensor) -> Tensor:
        if len(outputs) > self.room or (len(outputs) == 1 and self.fails > 0):
            self.fails -= len(outputs) == 1
            raise DistBackendError(self.says) if "NCCL" in self.says else RuntimeError(self.says)
        return outputs

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        outputs = self.kept(outputs) if self.project else outputs
        return nn.functional.cross_entropy(outputs, targets, reduction="none")


def on_a_card(job: Job, free: int) -> list[str]:
    """Let the rank believe that it computes on one with so many bytes free. Where its memory is released is noted."""
    released: list[str] = []
    says: Any = {"_free": lambda _gpu: free}
    does: Any = {"seed": lambda *_: None, "release_memory": lambda gpu: released.append(str(gpu))}
    vars(memory_shortage).update(says)
    vars(accelerator).update(does)
    job.passes.gpus = (torch.device("cuda:0"),)
    return released


def no_room(given, bucket):  # type: ignore[no-untyped-def]
    """What sends the gradients, where `given` says that it has no memory for those of one bucket, so many times."""
    if given["times"] and bucket.index() == given["bucket"]:
        given["times"] -= 1
        raise RuntimeError(FULL)
    sent: torch.futures.Future[Tensor] = torch.futures.Future()
    sent.set_result(bucket.buffer())
    return sent


def one_step(rank: int, world_size: int, given: dict[str, Any]) -> dict[str, Any]:
    """A step on a card with little free: the loss, the sizes of the passes, what was raised."""
    task = Library(given["room"], given["says"], given.get("project"), given.get("fails", 0))
    shares = given.get("shares", (40,))
    job = make_job(rank, world_size, options(global_batch=sum(shares)), shares, double=False, task=task)
    released = on_a_card(job, given.get("free", 300 << 20))
    if "bucket" in given:
        failing = {"bucket": given["bucket"], "times": 0}
        job.model.register_comm_hook(failing, no_room)
        for step in range(given["after"]):  # DDP makes several buckets after the first step
            train_step(job, job.batches.place(step))
        failing["times"] = given["times"]
    raised, loss = "", 0.0
    try:
        train_step(job, job.batches.place(0))
        loss = job.window.rows[-1].loss_sum
    except (RuntimeError, TrainerError) as error:
        raised = f"{type(error).__name__}: {error}"
    told: Any = job.recorder
    return {
        "loss": loss, "raised": raised, "sizes": task.sizes, "left": task.left, "limit": job.passes.limit,
        "told": [one[1:] for one in told.told if one[0] == "ran_out_of_memory"], "released": released,
        "weights": [p.detach().numpy() for p in job.model.parameters()],
    }  # fmt: skip


def alone(**given: Any) -> dict[str, Any]:
    found: dict[str, Any] = run_ranks(1, one_step, given)[0]
    return found


@pytest.fixture(scope="module")
def whole() -> dict[str, Any]:
    return alone(room=1000, says="")


@pytest.mark.parametrize(("says", "project"), [(CUDNN, None), (CUBLAS, None), (CUDNN, "user"), (CUBLAS, "user")])
def test_the_step_is_computed_in_smaller_passes(
    whole: dict[str, Any], tmp_path: Path, says: str, project: str | None
) -> None:
    found = alone(room=12, says=says, project=tmp_path if project else None)
    assert found["raised"] == ""
    assert found["loss"] == pytest.approx(whole["loss"], rel=1e-9)
    for ours, theirs in zip(found["weights"], whole["weights"], strict=True):
        assert torch.allclose(torch.as_tensor(ours), torch.as_tensor(theirs), rtol=1e-9, atol=1e-12)
    assert (found["limit"], found["told"]) == (10, [(40, 10)])
    assert found["sizes"] == [40, 20, 10, 10, 10, 10, 1]
    # Whatever a pass had computed is gone, and the driver has it back, before the next one.
    assert found["left"][:3] == [0, 0, 0]
    assert found["released"] == ["cuda:0"] * 3


def test_it_is_so_in_a_group_too() -> None:
    first, second = run_ranks(2, one_step, {"room": 12, "says": CUDNN, "shares": (10, 30)})
    assert (first["told"], second["told"]) == ([], [(30, 7)])
    for ours, theirs in zip(first["weights"], second["weights"], strict=True):
        assert torch.equal(torch.as_tensor(ours), torch.as_tensor(theirs))


@pytest.mark.parametrize(
    ("says", "free"), [(CUDNN, 8 << 30), (ILLEGAL, 0), ("NCCL error: Cuda failure 2 'out of memory'", 0)]
)
def test_what_smaller_passes_do_not_mend_is_raised_at_once(says: str, free: int) -> None:
    found = alone(room=12, says=says, free=free)
    assert found["raised"].endswith(f"Error: {says}")
    assert (found["sizes"], found["limit"], found["released"]) == ([40], None, [])


@pytest.mark.parametrize("times", [1, 9])
@pytest.mark.parametrize(("after", "bucket"), [(0, 0), (1, 0), (1, 1)])
def test_a_gradient_that_could_not_be_sent_is_no_step(after: int, bucket: int, times: int) -> None:
    """The only bucket there is, after which DDP waits for nothing any more, and each of two."""
    found = alone(room=1000, says="", after=after, bucket=bucket, times=times)
    assert found["raised"] == f"RuntimeError: {FULL}"
    assert (found["loss"], found["told"]) == (0.0, [])


def test_what_a_single_sample_fails_of_is_raised_as_it_was_unless_it_names_memory(tmp_path: Path) -> None:
    found = alone(room=0, says=CUDNN)
    assert found["raised"] == f"RuntimeError: {CUDNN}"
    assert (found["sizes"], found["limit"]) == ([40, 20, 10, 5, 2, 1], None)
    of_the_user = alone(room=0, says=CUDNN, project=tmp_path)
    assert of_the_user["raised"].startswith(TaskError.__name__)
    assert CUDNN in of_the_user["raised"]
    named = alone(room=0, says=CUBLAS)
    assert named["raised"].startswith(f"OutOfMemory: cpu: one sample does not fit into its memory ({CUBLAS})")


@pytest.mark.parametrize("says", [CUDNN, CUBLAS])
def test_a_single_sample_is_tried_once_more_when_torch_has_given_back_what_it_kept(says: str) -> None:
    found = alone(room=1000, says=says, shares=(1,), fails=1)
    assert (found["raised"], found["sizes"][:2]) == ("", [1, 1])
    assert (found["limit"], found["told"]) == (None, [])
    again = alone(room=1000, says=says, shares=(1,), fails=2)
    assert (len(again["sizes"]), again["limit"]) == (2, None)
    assert again["raised"].startswith("RuntimeError" if says == CUDNN else "OutOfMemory")
