"""A balancing policy of the user's own: which keys it goes with, and the project that brings it to the hosts."""

from __future__ import annotations

from pathlib import Path

import pytest

from motley.remote.config.load import load
from motley.remote.errors import ConfigError
from motley.remote.provision.project import UserCode, find, project_of
from tests.remote.provision.test_project import HOSTS, cluster_of, write

POLICY = '[balance]\npolicy = "mine.py"\n'


def brought(folder: Path, run: str, more: str = POLICY) -> UserCode:
    tree, found = project_of(cluster_of(folder, run, more))
    assert tree is not None
    assert found is not None
    assert found.own_policy is not None
    assert found.tree == found.own_policy.tree == tree.hash
    return found


def problem(folder: Path, run: str, more: str) -> str:
    with pytest.raises(ConfigError) as caught:
        project_of(cluster_of(folder, run, more))
    return "\n".join(caught.value.problems)


def test_with_a_task_of_ours_the_folder_that_holds_the_policy_is_pushed(tmp_path: Path) -> None:
    write(tmp_path, "rules/mine.py", "rules/helps.py", "else.py")
    found = brought(tmp_path, "steps = 3", '[balance]\npolicy = "rules/mine.py:split"\n')
    assert found.own_policy is not None
    assert (found.own_policy.file, found.own_policy.module, found.own_policy.name) == ("mine.py", "", "split")
    assert (found.script, found.own_task) == (None, None)
    project = find(cluster_of(tmp_path, "steps = 3", '[balance]\npolicy = "rules/mine.py"\n'))
    assert (project.root, project.files) == (tmp_path / "rules", ("helps.py", "mine.py"))


def test_with_a_task_of_the_user_s_own_both_are_in_one_project(tmp_path: Path) -> None:
    write(tmp_path, "night.py", "rules/mine.py")
    found = brought(tmp_path, 'task = "night.py"', '[balance]\npolicy = "rules/mine.py"\n')
    assert found.own_policy is not None
    assert found.own_task is not None
    assert (found.own_task.file, found.own_policy.file, found.own_policy.name) == (
        "night.py",
        "rules/mine.py",
        "shares",
    )


def test_with_a_script_that_is_a_session_both_are_in_one_project(tmp_path: Path) -> None:
    write(tmp_path, "rules/mine.py")
    (tmp_path / "train.py").write_text("import motley\nrun = motley.session()\n")
    found = brought(tmp_path, 'script = "train.py"', '[balance]\npolicy = "rules/mine.py"\n')
    assert found.own_policy is not None
    assert found.script is not None
    assert (found.script.path, found.own_policy.file) == ("train.py", "rules/mine.py")


def test_a_module_is_looked_for_in_the_project(tmp_path: Path) -> None:
    write(tmp_path, "src/rules/mine.py")
    found = brought(tmp_path, 'project = "src"', '[balance]\npolicy = "rules.mine:split"\n')
    assert found.own_policy is not None
    assert (found.own_policy.file, found.own_policy.module, found.own_policy.name) == ("", "rules.mine", "split")


@pytest.mark.parametrize(
    ("run", "files", "more", "said"),
    [
        ("steps = 3", (), POLICY, "cluster.toml:8: balance.policy: there is no file {here}/mine.py; a path begins"),
        (
            'task = "tasks/night.py"', ("tasks/night.py", "mine.py"), POLICY,
            "balance.policy: lies outside the project, {here}/tasks; run.project names a folder that holds both",
        ),
        ('project = "src"', ("src/x.py", "mine.py"), POLICY, "balance.policy: lies outside run.project, {here}/src"),
        ("steps = 3", ("mine.v2.py",), '[balance]\npolicy = "mine.v2.py"\n', "Python can't import mine.v2.py"),
        ("steps = 3", (), '[balance]\npolicy = "rules.mine:split"\n', "there is no module rules.mine"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_told_with_its_key(
    tmp_path: Path, run: str, files: tuple[str, ...], more: str, said: str
) -> None:
    write(tmp_path, *files)
    assert said.format(here=tmp_path) in problem(tmp_path, run, more)


@pytest.mark.parametrize(
    ("run", "policy", "said"),
    [
        ('script = "train.py"', "mine.py", "balance.policy: a policy of your own is for a task, or for"),
        ("steps = 3", "dinamic", "\"dinamic\" is neither dynamic, proportional or static (did you mean 'dynamic'?)"),
        ("steps = 3", "mine.py:my-split", "has 'my-split' behind the colon, which is no name of a function"),
        ("steps = 3", "my-rules:split", "has 'my-rules' before the colon, which is no module"),
        ("steps = 3", "-x.py", "must not begin with -"),
    ],
)
def test_a_mistake_in_the_name_is_told_when_the_file_is_read(tmp_path: Path, run: str, policy: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        cluster_of(tmp_path, run, f'[balance]\npolicy = "{policy}"\n')
    assert said in "\n".join(caught.value.problems)


def test_by_set_it_takes_the_place_of_shares(tmp_path: Path) -> None:
    text = f'{HOSTS}[run]\nglobal_batch = 8\n[balance]\npolicy = "static"\nshares = [8]\n'
    (tmp_path / "cluster.toml").write_text(text)
    cluster = load(tmp_path / "cluster.toml", ["balance.policy=mine.py"])
    assert (cluster.balance.policy, cluster.balance.shares) == ("mine.py", ())
    assert cluster.has_project
