"""A task of the user's own in cluster.toml: what `[task]` may hold, and which keys go together."""

from __future__ import annotations

from pathlib import Path

import pytest

from motley.remote.config.check_task import MAX_DEPTH
from motley.remote.config.cluster import Cluster
from motley.remote.config.command_line import check_resume, needs_task
from motley.remote.config.load import load
from motley.remote.errors import ConfigError
from motley.trainer.contract.task_name import Named

HOST = '[[hosts]]\nname = "box1"\n'
OWN = '[run]\ntask = "night.py"\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "cluster.toml"
    path.write_text(HOST + text)
    return path


def read(folder: Path, text: str, *overrides: str) -> Cluster:
    return load(written(folder, text), overrides)


def problems(folder: Path, text: str, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(folder, text, *overrides)
    assert caught.value.exit_code == 2
    assert all("\n" not in problem and problem.isprintable() for problem in caught.value.problems)
    return list(caught.value.problems)


LANGUAGE_MODEL = (
    '[run]\ntask = "causal_lm"\nactivation_checkpointing = true\n{}[task]\nmodel = "gpt2"\ntrain = "/a.jsonl"\n'
)
TWO = 'devices = [["cuda:0", 2], "cuda:1", ["cuda:3"]]\n'


@pytest.mark.parametrize("of", [LANGUAGE_MODEL.format(""), OWN])
def test_several_cards_of_one_rank_are_for_a_language_model_and_for_tasks_of_the_user_s_own(
    tmp_path: Path, of: str
) -> None:
    assert read(tmp_path, TWO + of).hosts[0].devices == ("cuda:0+2", "cuda:1", "cuda:3")
    assert read(tmp_path, of, 'hosts.box1.devices=[["xpu:0","xpu:1"]]').hosts[0].devices == ("xpu:0+1",)


def test_they_are_not_compiled(tmp_path: Path) -> None:
    text = LANGUAGE_MODEL.format("compile = true\n")
    assert read(tmp_path, text).run.compile
    (problem,) = problems(tmp_path, TWO + text)
    assert "run.compile: is not for several cards of one rank (cuda:0+2), as box1 has; leave it out" in problem


def test_parameters_are_kept_as_they_are_written(tmp_path: Path) -> None:
    text = 'width = 64\nrate = 1e-3\nname = "a\\nb"\ndeep = true\nsizes = [1, [2.5, "x"]]\nnested = {a = {b = []}}\n'
    cluster = read(tmp_path, f'{OWN}[task]\n{text}"odd key" = -1\n[[task.layers]]\nwidth = 3\n[[task.layers]]\n')
    assert cluster.task == {
        "width": 64, "rate": 1e-3, "name": "a\nb", "deep": True, "sizes": [1, [2.5, "x"]], "nested": {"a": {"b": []}},
        "odd key": -1, "layers": [{"width": 3}, {}],
    }  # fmt: skip
    assert read(tmp_path, OWN).task == {}


@pytest.mark.parametrize(
    ("task", "named"),
    [
        ("night.py", Named("night.py", "", "")),
        ("tasks/night.py:Night", Named("tasks/night.py", "", "Night")),
        ("vision.night:Night", Named("", "vision.night", "Night")),
        ("mlp/digits", None),
    ],
)
def test_whose_task_it_is(tmp_path: Path, task: str, named: Named | None) -> None:
    cluster = read(tmp_path, f'[run]\ntask = "{task}"\n')
    assert (cluster.own_task, cluster.has_project) == (named, named is not None)
    check_resume("old")
    needs_task(cluster, "motley plan")


def test_a_script_is_no_task_and_has_a_project(tmp_path: Path) -> None:
    cluster = read(tmp_path, '[run]\nscript = "train.py"\n')
    assert (cluster.own_task, cluster.has_project) == (None, True)


LARGE = 2**63


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("when = 2026-01-02", '6: task.when: is a date or time, which no parameter can be; write it in quotes: "2026-'),
        ("at = [1, 07:30:00]", "6: task.at.#2: is a date or time"),
        (f"a = {{b = [{{c = {LARGE}}}]}}", "6: task.a.b.#1.c: is too large; whole numbers end at 9223372036854775807"),
        (f"a = -{LARGE + 5}", "6: task.a: is too large"),
        ("\na = nan", "7: task.a: must be a number, is nan"),
        ("a = [\n 1.0,\n -inf,\n]", "8: task.a.#2: must be a number, is -inf"),
        ('"odd\\u001bkey" = 1979-05-27', '5: task."odd\\u001bkey": is a date or time'),
    ],
)
def test_what_no_parameter_can_be(tmp_path: Path, text: str, expected: str) -> None:
    (problem,) = problems(tmp_path, f"{OWN}[task]\n{text}\n")
    assert problem.startswith(f"cluster.toml:{expected}")


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    found = problems(tmp_path, f"{OWN}[task]\na = nan\nb = 1979-05-27\n", "task.c=07:30:00", "task.d=2")
    assert [problem.partition(":")[0] for problem in found] == ["cluster.toml", "cluster.toml", "--set task.c=07"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[task]\nwidth = 3", "3: task: is for a task of your own, which [run] names, such as task"),
        ('[run]\nscript = "train.py"\n[task]', "5: task: is for a task of your own"),
        ('[run]\nproject = "."', "4: run.project: is for a script or a task of your own; name one, such as script = "),
        (OWN + 'args = ["x"]', '5: run.args: is for a script; name one, such as script = "train.py"'),
        (OWN + "[[task]]\nwidth = 3", "5: task: must be a table, which begins with [task]; the task itself is named"),
        ('[run]\ntask = "night.py:a b"\n[task]\nwidth = 3', "4: run.task: task 'night.py:a b': 'a b' is no name of a"),
        ('[run]\ntask = 3\nproject = "x"\n[task]', "4: run.task: must be text, is 3"),
        ("[run]\nscript = 3\n[task]", "4: run.script: must be text, is 3"),
        ('[run]\ntask = "-night.py"', '4: run.task: "-night.py" must not begin with -'),
        ('[run]\ntask = "ni\\u0007ght.py"', '4: run.task: "ni\\u0007ght.py" holds the character U+0007'),
        (OWN + 'project = ""', '5: run.project: "" is empty'),
    ],
)
def test_keys_that_do_not_go_together(tmp_path: Path, text: str, expected: str) -> None:
    found = problems(tmp_path, f"{text}\n")
    assert found[0].startswith(f"cluster.toml:{expected}")
    assert len(found) == 1 or "script = 3" in text


def test_a_script_beside_an_own_task_is_one_problem(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, f'{OWN}script = "train.py"\n')
    assert "run.task: script is given too; keep one of them" in problem


def test_parameters_from_the_command_line(tmp_path: Path) -> None:
    text = f"{OWN}[task]\nwidth = 3\nnested = {{a = 1}}\n"
    cluster = read(tmp_path, text, "task.width=64", "task.nested.b=[1, 2]", "task.name=plain text")
    assert cluster.task == {"width": 64, "nested": {"a": 1, "b": [1, 2]}, "name": "plain text"}
    assert read(tmp_path, OWN, "task.width=64").task == {"width": 64}
    assert "task.width.x=1: has no such key: width is not a table" in problems(tmp_path, text, "task.width.x=1")[0]
    assert "names a section; write task.KEY=VALUE or run.task=VALUE" in problems(tmp_path, text, "task=day.py")[0]
    (problem,) = problems(tmp_path, text, f"task.a={'[' * 300}{']' * 300}")
    assert f"is nested too deeply; {MAX_DEPTH} tables and lists in each other are the most" in problem
    (problem,) = problems(tmp_path, text, f"task.{'.'.join('a' * 100)}=1")
    assert "is nested too deeply" in problem


def test_what_another_task_by_set_leaves_no_sense_in_gives_way(tmp_path: Path) -> None:
    text = f'{OWN}project = "."\n[task]\nwidth = 3\n'
    own = read(tmp_path, text, "run.task=day.py")
    assert (own.run.task, own.run.project, own.task) == ("day.py", ".", {"width": 3})
    ours = read(tmp_path, text, "run.task=mlp/digits")
    assert (ours.run.project, ours.task) == (None, {})
    script = read(tmp_path, text, "run.script=train.py")
    assert (script.run.script, script.run.project, script.task) == ("train.py", ".", {})
    script_file = '[run]\nscript = "train.py"\nargs = ["x"]\nproject = "."\n'
    again = read(tmp_path, script_file, "run.task=night.py", "task.width=3")
    assert (again.run.script, again.run.args, again.run.project, again.task) == (None, (), ".", {"width": 3})
    (problem,) = problems(tmp_path, text, "run.task=mlp/digits", "task.width=4")  # both were asked for
    assert "is for a task of your own" in problem


LANGUAGE = '[run]\ntask = "causal_lm"\n'
MODEL = '[task]\nmodel = "gpt2"\ntrain = "rows.jsonl"\n'


def test_a_language_model_brings_defaults_of_its_own(tmp_path: Path) -> None:
    cluster = read(tmp_path, LANGUAGE + MODEL)
    run = cluster.run
    assert (run.learning_rate, run.optimizer, run.epochs, run.accumulate, run.global_batch) == (2e-4, "adamw", 3, 8, 24)
    assert (cluster.own_task, cluster.has_project, cluster.dataset) == (None, False, "")
    assert cluster.included is not None
    run = read(tmp_path, f"{LANGUAGE}learning_rate = 0.05\nsteps = 7\n{MODEL}", "run.accumulate=1").run
    assert (run.learning_rate, run.steps, run.accumulate, run.optimizer) == (0.05, 7, 1, "adamw")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{LANGUAGE}{MODEL}metod = 3\n", "cluster.toml:8: task.metod: causal_lm has no such parameter; did you mean"),
        (f'{LANGUAGE}{MODEL}method = "dora"\n', "task.method: 'dora': there is no such method; it is one of full"),
        (f"{LANGUAGE}{MODEL}lora_targets = [1]\n", "task.lora_targets: has 1 in it: causal_lm wants str; change it"),
        (LANGUAGE, "task: lacks model, train"),
        (f"{LANGUAGE}compile = true\n{MODEL}", "run.compile: for causal_lm needs activation_checkpointing = true too"),
        (f'{LANGUAGE}project = "x"\n{MODEL}', "run.project: is for a script or a task of your own"),
    ],
)
def test_what_is_wrong_with_a_language_model_is_known_here(tmp_path: Path, text: str, said: str) -> None:
    (found,) = problems(tmp_path, text)
    assert said in found


def test_another_task_leaves_its_parameters_behind(tmp_path: Path) -> None:
    assert read(tmp_path, LANGUAGE + MODEL, "run.task=mlp/digits").task == {}
    assert read(tmp_path, f"{OWN}[task]\nmodel = 'a'\ntrain = 'b'\n", "run.task=causal_lm").task["model"] == "a"
