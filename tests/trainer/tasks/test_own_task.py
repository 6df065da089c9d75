"""A task of the user's own: found in its file, given its parameters, and named with its line where it is wrong."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from motley.trainer.contract.spec import DataOptions, RunOptions
from motley.trainer.contract.task_name import OwnTask
from motley.trainer.data.task_data import TaskData
from motley.trainer.errors import DataError, TaskError
from motley.trainer.host.paths import project_folder
from motley.trainer.tasks import load
from motley.trainer.tasks.task import Task
from motley.trainer.tasks.task_loss import summed_loss
from motley.trainer.tasks.task_module import TaskModule, new_model, own_optimizer, placed

DATA = "return torch.arange(30.0).reshape(10, 3), torch.arange(10) % 2"
NIGHT = """
from dataclasses import dataclass
import torch
from torch import nn
import motley

class Night(motley.Task):
    @dataclass
    class Options:
        width: int = 8
        rate: float = 0.5
        kinds: tuple = ()

    def model(self):
        return nn.Linear(3, self.options.width)

    def train_data(self):
        return torch.arange(30.0).reshape(10, 3), torch.arange(10) % 2

    def loss(self, outputs, targets):
        return nn.functional.cross_entropy(outputs, targets)
"""


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A rank is a process of its own; here the next test wants another night.py."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before, folder = set(sys.modules), Path.cwd()
    yield
    os.chdir(folder)
    for name in set(sys.modules) - before:
        del sys.modules[name]


def written(text: str, *, file: str = "night.py", **given: Any) -> OwnTask:
    own = OwnTask(tree="8f5a", file="" if given.get("module") else file, **given)
    path = project_folder(own.tree) / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return own


def loaded(own: OwnTask, name: str = "night.py") -> Task:
    return load(RunOptions(task=name), DataOptions(), lambda *_: None, own)


def test_the_only_task_of_a_file_is_found_and_has_its_parameters() -> None:
    task = loaded(written(NIGHT, parameters={"width": 5, "rate": 1, "kinds": ["a", "b"]}))
    assert (task.name, type(task).__name__) == ("night.py", "Night")
    assert (task.options.width, task.options.rate, task.options.kinds) == (5, 1, ["a", "b"])
    assert task.model().out_features == 5
    assert task.data_path is None
    data = TaskData.of(task, seed=0)
    assert (data.train_size, data.test_size) == (10, 0)
    batch = data.train_batch(torch.tensor([3, 1]), epoch=0)
    assert batch.content[0].tolist() == [[9.0, 10.0, 11.0], [3.0, 4.0, 5.0]]
    loss = summed_loss(task, TaskModule(task, task.model()), batch.content, batch.size)
    assert loss.dim() == 0
    assert loss.requires_grad


def test_it_is_told_where_its_data_is() -> None:
    own = written(NIGHT)
    task = load(RunOptions(task="night.py"), DataOptions(path="~/pictures"), lambda *_: None, own)
    assert task.data_path == Path.home() / "pictures"


def test_one_that_does_not_say_how_it_goes_onto_several_cards_is_refused() -> None:
    cpu, second = torch.device("cpu"), torch.device("meta")

    def on_two(own: OwnTask | None, name: str) -> Task:
        return load(RunOptions(task=name), DataOptions(), lambda *_: None, own, device=cpu, beside=[second])

    with pytest.raises(TaskError, match=r"night.py is trained on one card by each rank: it does not say") as raised:
        on_two(written(NIGHT), "night.py")
    assert "without a list in the list; or give it a spread method" in raised.value.remedy
    with pytest.raises(TaskError, match="simple_cnn/digits is trained on one card by each rank"):
        on_two(None, "simple_cnn/digits")
    spread = "    def spread(self, model, devices):\n        model.to(devices[0])\n"
    task = on_two(written(NIGHT + spread, file="two.py"), "two.py")
    assert placed(task, new_model(task), (cpu, second)).weight.device == cpu


def test_of_several_the_named_one_is_taken_also_out_of_a_package() -> None:
    text = NIGHT + "\nclass Day(Night):\n    pass\n"
    own = written(text, file="vision/night.py", module="vision.night", name="Day")
    assert type(loaded(own, "vision.night:Day")).__name__ == "Day"


def test_a_class_without_options_gets_the_table_as_it_is() -> None:
    text = NIGHT.replace("    @dataclass\n    class Options:", "    class Other:")
    task = loaded(written(text.replace("self.options.width", 'self.options["width"]'), parameters={"width": 4}))
    assert task.model().out_features == 4


def test_files_beside_it_are_imported_whatever_their_names_and_read_by_a_path_from_there() -> None:
    """`trainer.py`, `console/`, `remote.py`: names of ours, too."""
    own = written(NIGHT.replace("import motley\n", "import motley, remote, trainer\nfrom console import said\n"))
    for name in ("remote.py", "trainer.py"):
        (project_folder(own.tree) / name).write_text("")
    (project_folder(own.tree) / "console").mkdir()
    (project_folder(own.tree) / "console/__init__.py").write_text(
        "from pathlib import Path\nsaid = Path('words.txt').read_text()\n"
    )
    (project_folder(own.tree) / "words.txt").write_text("good night")
    loaded(own)
    assert sys.modules["console"].said == "good night"


@pytest.mark.parametrize(
    ("change", "given", "cause", "remedy"),
    [
        (("import motley", "import motley, nothing_of_it"), {}, "night.py:5: ModuleNotFoundError: No", "Mend it"),
        (("class Night", "class class"), {}, "night.py:7: SyntaxError: invalid syntax", "Mend it"),
        (("(motley.Task)", ""), {}, "night.py has no classes that derive from motley.Task", "class Night(motley.Task)"),
        (("", ""), {"name": "Nigth"}, "night.py has no class Nigth", "Did you mean Night?"),
        (("", ""), {"name": "dataclass"}, "night.py has no class dataclass", "There are Night"),
        (("(motley.Task)", ""), {"name": "Night"}, "night.py: Night does not derive from motley.Task", ""),
        (("def loss", "class Day(motley.Task): pass\n    def loss"), {}, None, ""),
        (("", "\nclass Day(motley.Task): pass\n"), {}, "night.py has 2 classes (Night, Day)", '= "night.py:Night"'),
        (("", ""), {"parameters": {"widht": 3}}, "[task] widht: Night.Options has no such", "Did you mean width?"),
        (("", ""), {"parameters": {"width": "3"}}, "[task] width = '3': Night.Options wants int", "cluster.toml"),
        (("", ""), {"parameters": {"width": True}}, "[task] width = True: Night.Options wants int", "cluster.toml"),
        (("width: int = 8", "width: int"), {}, "[task] lacks width", "no default"),
        (("    @dataclass\n", ""), {"parameters": {"width": 3}}, "Night.Options is no dataclass", "@dataclass"),
        (("return torch.arange(30.0)", "return 1 / 0, torch.zeros(30)"), {}, "night.py:18: ZeroDivision", "Mend"),
        (("return torch.arange(30.0).reshape(10, 3), ", "return "), {}, None, ""),
        (("torch.arange(10) % 2", "torch.arange(9) % 2"), {}, "train_data gives tensors of 9 and 10 samples", "same"),
        ((DATA, "return []"), {}, "train_data has no samples", ""),
        ((DATA, "return iter([])"), {}, "no numbers", "Give a"),
        ((DATA, "pass"), {}, "night.py:17: Night.train_data gives None", "Give a"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_line(
    change: tuple[str, str], given: dict[str, Any], cause: str | None, remedy: str
) -> None:
    text = NIGHT.replace(*change, 1) if change[0] else NIGHT + change[1]

    def read() -> TaskData:
        return TaskData.of(loaded(written(text, **given)), seed=0)

    if cause is None:
        read()
        return
    with pytest.raises((TaskError, DataError)) as caught:
        read()
    assert cause in caught.value.cause
    assert remedy in caught.value.remedy
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("loss", "cause"),
    [
        ("nn.functional.cross_entropy(outputs, targets, reduction='sum')", "Night.loss gives a sum over the samples"),
        ("nn.functional.cross_entropy(outputs, targets).item()", "Night.loss gives a float"),
        ("outputs", "night.py:20: Night.loss gives a tensor of shape (2, 8) for 2 samples"),
        ("nn.functional.cross_entropy(outputs.to('meta'), targets)", "night.py:21: RuntimeError: "),
        ("1 / 0", "night.py:21: ZeroDivisionError: division by zero"),
    ],
)
def test_what_is_no_loss_is_named(loss: str, cause: str) -> None:
    task = loaded(written(NIGHT.replace("nn.functional.cross_entropy(outputs, targets)", loss)))
    batch = TaskData.of(task, seed=0).train_batch(torch.tensor([3, 1]), epoch=0)
    with pytest.raises(TaskError) as caught:
        summed_loss(task, TaskModule(task, task.model()), batch.content, batch.size)
    assert cause in str(caught.value)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ("return nn.Linear(3, self.options.width), 1", "Night.model gives a tuple"),
        ("return nn.Flatten()", "Night.model gives a model without a parameter that learns"),
        ("return nn.Linear(3, 1 / 0)", "night.py:15: ZeroDivisionError"),
        (
            "return nn.Linear(3, 2)\n    def optimizer(self, model):\n        return 0.1",
            "Night.optimizer gives a float",
        ),
    ],
)
def test_what_is_no_model_and_no_optimizer_is_named(change: str, cause: str) -> None:
    task = loaded(written(NIGHT.replace("return nn.Linear(3, self.options.width)", change)))
    with pytest.raises(TaskError) as caught:
        own_optimizer(task, new_model(task))
    assert cause in str(caught.value)


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_a_mean_and_a_value_for_each_sample_come_to_the_same(reduction: str) -> None:
    text = NIGHT.replace("entropy(outputs, targets)", f"entropy(outputs, targets, reduction={reduction!r})")
    task = loaded(written(text))
    batch = TaskData.of(task, seed=0).train_batch(torch.arange(7), epoch=0)
    model = task.model()
    expected = torch.nn.functional.cross_entropy(model(batch.content[0]), batch.content[1], reduction="sum")
    found = summed_loss(task, TaskModule(task, model), batch.content, batch.size)
    assert torch.allclose(found, expected, rtol=1e-6)


def test_a_data_set_that_raises_is_no_broken_connection() -> None:
    """It says what a collective would say; the step would be tried for ever."""
    data = (
        "class Data:\n"
        "    def __len__(self): return 3\n"
        "    def __getitem__(self, n): raise BrokenPipeError('Broken pipe')\n"
    )
    text = NIGHT.replace("class Night", f"{data}\nclass Night").replace(DATA, "return Data()")
    data_of = TaskData.of(loaded(written(text)), seed=0)
    with pytest.raises(TaskError, match=r"night\.py:9: BrokenPipeError: Broken pipe"):
        data_of.train_batch(torch.tensor([1]), epoch=0)


def test_fewer_samples_than_ranks_are_named_before_the_first_step() -> None:
    data = TaskData.of(loaded(written(NIGHT)), seed=0)
    data.check_for(10)
    with pytest.raises(
        DataError, match=r"^night\.py:17: Night\.train_data gives 10 samples for 11 ranks\. Give it more, or"
    ):
        data.check_for(11)
