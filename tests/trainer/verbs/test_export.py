"""The verb `export` as the master calls it: a line that says what the file is, then the file."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from safetensors import safe_open

from motley.trainer import tasks
from motley.trainer.contract.exported import evaluation_of
from motley.trainer.contract.script import Script
from motley.trainer.contract.spec import DataOptions, RunOptions
from motley.trainer.contract.task_list import DATA
from motley.trainer.contract.task_name import OwnTask
from motley.trainer.optimize.local_weights import LocalWeights
from motley.trainer.tasks.class_names import NAMES
from motley.trainer.tasks.task import kept_metadata
from motley.trainer.training import checkpoint
from tests.trainer.trained import NIGHT, damage, own_project, same, spec_of, state, trained, weights, write_events

pytestmark = pytest.mark.ranks
ROOT = Path(__file__).resolve().parents[3]
BOUND_S = 60.0


def exported(home: Path, *words: str, given: bytes = b"") -> tuple[dict[str, Any], bytes]:
    done = subprocess.run(
        [sys.executable, "-m", "motley.trainer", "export", "--run", "night", "--host", "box0", *words], cwd=ROOT,
        input=given, capture_output=True, timeout=BOUND_S, check=False,
        env={"HOME": str(home), "PATH": os.environ["PATH"]},
    )  # fmt: skip
    head, _, content = done.stdout.partition(b"\n")
    answer: dict[str, Any] = json.loads(head)
    assert done.returncode == (0 if answer["ok"] else 1), done.stderr
    assert len(content) == answer.get("bytes", 0)
    return answer, content


def test_a_checkpoint_of_ours_becomes_safetensors_with_what_it_takes_to_use_them(home: Path, tmp_path: Path) -> None:
    trained(home, spec_of("night", "box0"), {"final": 18, "best": 12}, evaluated=18)
    answer, content = exported(home, "--format", "safetensors", "final.pt")
    assert same(safetensors.torch.load(content), weights(18))
    about = answer["metadata"]
    data = tasks.load(RunOptions(), DataOptions(), lambda *_: None).data  # type: ignore[attr-defined]
    assert (tuple(about["mean"]), tuple(about["std"])) == (data.mean, data.std)
    assert about["classes"] == [str(digit) for digit in range(10)]
    assert {about[name] for name in ("run", "task", "step", "epoch", "accuracy", "loss")} == {
        "night", "simple_cnn/digits", 18, 3, 0.75, 0.5,
    }  # fmt: skip
    assert answer["notes"] == []
    (tmp_path / "model.safetensors").write_bytes(content)
    with safe_open(str(tmp_path / "model.safetensors"), framework="pt") as file:
        texts = file.metadata()
    assert {name: value if isinstance(value, str) else json.dumps(value) for name, value in about.items()} == {
        name: value for name, value in texts.items() if name != "format"
    }


def test_a_task_of_the_user_s_own_tells_what_belongs_to_its_model(home: Path) -> None:
    own = own_project(home, width=4)
    trained(home, spec_of("night", "box0", "night.py", own), {"final": 18}, evaluated=17)
    answer, content = exported(home, "--format", "pt", "final.pt")
    saved = torch.load(io.BytesIO(content), weights_only=True)
    assert same(saved["model"], weights(18))
    assert saved["metadata"] == answer["metadata"]
    assert {key: saved["metadata"].get(key) for key in ("task", "parameters", "classes", "step", "accuracy")} == {
        "task": "night.py", "parameters": {"width": 4}, "classes": ["0", "1", "2", "3"], "step": 18, "accuracy": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "note"),
    [
        ("import torch\n", "import torch_of_mine\n", "night.py:3: ModuleNotFoundError"),
        ('"not this one"', "torch.zeros(2)", "Night.metadata gives what is no plain value"),
        ("return {", "return 5, {", "Night.metadata gives a tuple"),
    ],
)
def test_a_task_that_does_not_work_any_more_costs_its_names_alone(home: Path, old: str, new: str, note: str) -> None:
    own = own_project(home, NIGHT.replace(old, new, 1), width=4)
    trained(home, spec_of("night", "box0", "night.py", own), {"final": 18})
    answer, content = exported(home, "--format", "safetensors", "final.pt")
    assert same(safetensors.torch.load(content), weights(18))
    assert answer["notes"][0].startswith(f"class names and normalisation are left out: {note}")


def test_a_checkpoint_that_is_lent_needs_no_run_there(home: Path, tmp_path: Path) -> None:
    file = checkpoint.save(tmp_path / "final.pt", state(18)).path
    given = json.dumps({"accuracy": 0.5}).encode() + b"\n" + file.read_bytes()
    answer, content = exported(home, "--format", "safetensors", given=given)
    assert same(safetensors.torch.load(content), weights(18))
    assert answer["metadata"]["accuracy"] == 0.5
    assert answer["metadata"]["classes"][9] == "9"
    answer, _ = exported(home, "--format", "safetensors", given=given[:-5])
    assert answer["damaged"] is True


def test_where_weights_were_averaged_it_is_the_average(home: Path) -> None:
    folder = trained(home, spec_of("night", "box0"), {}, evaluated=18)
    checkpoint.save(folder / "checkpoints/final.pt", {**state(18), "ema": weights(3)})
    answer, content = exported(home, "--format", "safetensors", "final.pt")
    assert same(safetensors.torch.load(content), weights(3))
    assert answer["metadata"]["ema"] is True


def test_the_classes_are_those_that_were_learned_whatever_the_data_holds_now(home: Path) -> None:
    folder = trained(home, spec_of("night", "box0"), {})
    names = [f"the {digit}" for digit in range(10)]
    checkpoint.save(folder / "checkpoints/final.pt", {**state(18), "classes": names})
    assert exported(home, "--format", "safetensors", "final.pt")[0]["metadata"]["classes"] == names


def test_a_script_s_checkpoint_is_not_told_as_one_of_a_task(home: Path) -> None:
    script = Script(path="train.py", args=(), tree="8f5a", port=1)
    trained(home, dataclasses.replace(spec_of("night", "box0"), script=script), {"final": 18})
    about = exported(home, "--format", "safetensors", "final.pt")[0]["metadata"]
    assert about == {"motley": about["motley"], "run": "night", "script": "train.py", "step": 18, "epoch": 3}


def test_of_a_loop_of_one_s_own_it_is_the_first_model_also_where_nobody_knows_the_run(
    home: Path, tmp_path: Path
) -> None:
    session = {"models": [weights(3)], "optimizers": [], "others": "[]", "tensors": []}
    file = checkpoint.save(tmp_path / "final.pt", {**state(18), "task": "train.py", "session": session}).path
    answer, content = exported(home, "--format", "safetensors", given=b"{}\n" + file.read_bytes())
    assert same(safetensors.torch.load(content), weights(18))
    about = answer["metadata"]
    assert about == {"motley": about["motley"], "run": "night", "script": "train.py", "step": 18, "epoch": 3}
    assert answer["notes"] == [
        "run.prepare was given 2 models: the file holds the first; the others are in the checkpoint alone, as "
        "session.models"
    ]


@pytest.mark.long
def test_what_is_damaged_or_gone_is_said_so(home: Path) -> None:
    folder = trained(home, spec_of("night", "box0"), {"final": 18})
    damage(folder / "checkpoints/final.pt")
    for name in ("final.pt", "epoch_1.pt"):
        answer, _ = exported(home, "--format", "pt", name)
        assert answer["damaged"] is True


def test_weights_that_safetensors_can_t_hold_are_an_error_with_its_remedy(home: Path) -> None:
    folder = trained(home, spec_of("night", "box0"), {})
    checkpoint.save(folder / "checkpoints/final.pt", state(18, {"head": {"more": 1}}))
    answer, _ = exported(home, "--format", "safetensors", "final.pt")
    assert (answer["error"], answer["damaged"]) == ("head of the model is a dict, and safetensors holds tensors", False)
    assert ".pt" in answer["remedy"]
    assert exported(home, "--format", "pt", "final.pt")[0]["ok"]


def test_the_python_that_trained_reads_it(home: Path, tmp_path: Path) -> None:
    """Also where the one that is asked has no torch."""
    trained(home, dataclasses.replace(spec_of("night", "box0"), python=sys.executable), {"final": 18})
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "torch.py").write_text("raise ImportError('no torch here')")
    code = f"import sys; sys.executable = '/bare'; sys.path.insert(0, {str(bare)!r}); "
    code += "from motley.trainer.__main__ import main; sys.exit(main(sys.argv[1:]))"
    words = ["export", "--run", "night", "--host", "box0", "--format", "pt"]
    env = {"HOME": str(home), "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}

    def asked(*more: str) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-c", code, *words, *more, "final.pt"], env=env, capture_output=True, timeout=BOUND_S,
            check=False, cwd=ROOT,
        )  # fmt: skip
        found: dict[str, Any] = json.loads(done.stdout.partition(b"\n")[0])
        return found

    assert asked()["ok"]
    there = asked("--inside")
    assert there["error"] == "/bare can't import torch: no torch here"
    assert "import torch" in there["remedy"]


def test_an_evaluation_is_that_of_its_step_and_odd_lines_are_passed_over(tmp_path: Path) -> None:
    assert evaluation_of(tmp_path, 6) == {}
    write_events(tmp_path, 18)
    with (tmp_path / "events.jsonl").open("a") as file:
        file.write('uated"}\n{"kind": "evaluated"}\n{"kind": "evaluated", "data": [18]}\n[]\n')
        file.write('{"kind": "evaluated", "data": {"step": 7, "accuracy": "all"}}\n')
    assert [evaluation_of(tmp_path, step) for step in (6, 7, 18)] == [
        {"accuracy": 0.1}, {}, {"accuracy": 0.75, "loss": 0.5},
    ]  # fmt: skip


def test_there_is_a_name_for_every_class() -> None:
    assert {name: len(names) for name, names in NAMES.items()} == {name: DATA[name].classes for name in NAMES}
    assert all(len(set(names)) == len(names) for names in NAMES.values())
    assert list(NAMES["cifar100"]) == sorted(NAMES["cifar100"])  # as its authors have them


TRUNKED = NIGHT.replace(
    "return nn.Linear(3, self.options.width)",
    """return nn.ModuleDict({"trunk": nn.Linear(3, 3).requires_grad_(False), "head": nn.Linear(3, self.options.width)})

    def travels(self, name):
        return not name.startswith("trunk.")

    def export(self, weights, about, room, *, merge):
        (room / "more.txt").write_text("more")
        step = str(about["step"]).encode()
        return {"head.safetensors": weights, "about.txt": step, "more.txt": room / "more.txt"}""",
).replace('"step": "not this one"', '"trunk": "of this page"')


def trunked(home: Path) -> tuple[OwnTask, torch.nn.Module]:
    """A task whose trunk stays, and its model; a run of it that has left a checkpoint."""
    own = own_project(home, TRUNKED, width=4)
    spec = spec_of("night", "box0", "night.py", own)
    folder = trained(home, spec, {})
    here = os.getcwd()
    sys.modules.pop("night", None)  # another test's
    task = tasks.load(spec.options, spec.data, lambda *_: None, own)
    os.chdir(here)
    torch.manual_seed(spec.options.seed)
    model = task.model()
    local = LocalWeights.of(task, model)
    torch.nn.init.ones_(model.get_parameter("head.weight"))
    about = {**state(18, local.without(model.state_dict()), "night.py"), "local": dict(local.table)}
    checkpoint.save(folder / "checkpoints/final.pt", {**about, **kept_metadata(task)})
    return own, model


@pytest.mark.long
def test_weights_that_did_not_travel_are_left_out_and_put_in_by_merge(home: Path) -> None:
    own, model = trunked(home)
    answer, content = exported(home, "--format", "pt", "final.pt")
    saved = torch.load(io.BytesIO(content), weights_only=True)
    assert set(saved["model"]) == {"head.weight", "head.bias"}
    assert answer["notes"] == [
        "2 weights that every host has by itself are not in the file (trunk.bias, …): --merge puts them in"
    ]
    assert answer["metadata"]["left_out"]["weights"] == 2
    answer, content = exported(home, "--format", "pt", "--merge", "final.pt")
    assert same(torch.load(io.BytesIO(content), weights_only=True)["model"], model.state_dict())
    assert answer["notes"] == []
    file = home / ".motley/code" / own.tree / own.file
    file.write_text(TRUNKED.replace("    def model(self):", "    def model(self):\n        torch.manual_seed(8)"))
    answer, _ = exported(home, "--format", "pt", "--merge", "final.pt")
    assert "final.pt was trained on other weights than the model now begins with (trunk.bias" in answer["error"]


def test_what_the_task_tells_is_in_the_checkpoint_whatever_its_file_says_now(home: Path) -> None:
    own, _ = trunked(home)
    (home / ".motley/code" / own.tree / own.file).unlink()
    answer, _ = exported(home, "--format", "pt", "final.pt")
    assert (answer["metadata"]["trunk"], answer["metadata"]["classes"]) == ("of this page", ["0", "1", "2", "3"])


def test_a_task_of_the_user_s_own_gives_the_files_of_a_folder(home: Path) -> None:
    trunked(home)
    answer, content = exported(home, "--format", "folder", "final.pt")
    assert [name for name, _ in answer["files"]] == ["about.txt", "head.safetensors", "more.txt", "motley.json"]
    files, start = {}, 0
    for name, size in answer["files"]:
        files[name], start = content[start : start + size], start + size
    assert (files["about.txt"], files["more.txt"]) == (b"18", b"more")
    assert set(safetensors.torch.load(files["head.safetensors"])) == {"head.weight", "head.bias"}
    assert json.loads(files["motley.json"])["files"] == list(files)


def test_a_task_without_files_of_its_own_says_so(home: Path) -> None:
    trained(home, spec_of("night", "box0"), {"final": 18})
    answer, _ = exported(home, "--format", "folder", "final.pt")
    assert answer["error"] == "simple_cnn/digits makes no folder of its own"
    assert ".safetensors" in answer["remedy"]
