"""The project of a task of the user's own: found by its file or module, with the mistakes that a script's can have."""

from __future__ import annotations

from pathlib import Path

import pytest

from motley.remote.config.load import load
from motley.remote.provision.project import find, project_of
from motley.trainer.contract.task_name import OwnTask
from tests.remote.provision.test_project import HOSTS, cluster_of, refused, write


def own_task(folder: Path, run: str, more: str = "") -> OwnTask:
    tree, found = project_of(cluster_of(folder, run, more))
    assert tree is not None
    assert found is not None
    assert found.own_task is not None
    assert found.own_task.tree == found.tree == tree.hash
    return found.own_task


def test_a_file_brings_the_folder_that_holds_it(tmp_path: Path) -> None:
    write(tmp_path, "tasks/night.py", "tasks/lib/model.py", "else.py", "tasks/.git/config")
    found = own_task(tmp_path, 'task = "tasks/night.py:Night"', "[task]\nwidth = 3\n[task.inner]\ndeep = [1]\n")
    assert (found.file, found.module, found.name) == ("night.py", "", "Night")
    assert found.parameters == {"width": 3, "inner": {"deep": [1]}}
    project = find(cluster_of(tmp_path, 'task = "tasks/night.py"'))
    assert (project.root, project.entry) == (tmp_path / "tasks", "night.py")
    assert project.files == ("lib/model.py", "night.py")


def test_a_project_around_the_file(tmp_path: Path) -> None:
    write(tmp_path, "code/tasks/night.py", "code/lib/model.py", "else.py")
    found = own_task(tmp_path, 'task = "code/tasks/night.py"\nproject = "code"')
    assert (found.file, found.name, found.parameters) == ("tasks/night.py", "", {})


@pytest.mark.parametrize("file", ["vision/night.py", "vision/night/__init__.py"])
def test_a_module_is_in_the_folder_of_cluster_toml_or_in_the_project(tmp_path: Path, file: str) -> None:
    write(tmp_path, file, f"src/{file}")
    for more, root in (("", tmp_path), ('\nproject = "src"', tmp_path / "src")):
        run = f'task = "vision.night:Night"{more}'
        found = own_task(tmp_path, run)
        assert (found.file, found.module, found.name) == ("", "vision.night", "Night")
        project = find(cluster_of(tmp_path, run))
        assert (project.root, project.entry) == (root, file)


def test_of_a_package_and_a_file_of_one_name_the_package_counts_as_in_python(tmp_path: Path) -> None:
    write(tmp_path, "night.py", "night/__init__.py")
    assert find(cluster_of(tmp_path, 'task = "night:Night"')).entry == "night/__init__.py"


def test_cluster_toml_stays_behind_so_that_a_change_of_it_makes_no_other_project(tmp_path: Path) -> None:
    write(tmp_path, "night.py", "experiments/old/summary.json", "other.toml")
    first = own_task(tmp_path, 'task = "night.py"')
    assert own_task(tmp_path, 'task = "night.py"\nepochs = 3', "[task]\nwidth = 3\n").tree == first.tree
    assert find(load(tmp_path / "cluster.toml")).files == ("night.py", "other.toml")
    roundabout = load(tmp_path / "experiments" / ".." / "cluster.toml")
    assert find(roundabout).files == ("night.py", "other.toml")
    write(tmp_path, "night.py", text="y\n")
    assert own_task(tmp_path, 'task = "night.py"').tree != first.tree


def test_a_file_that_is_not_there_is_named_with_its_line_and_key(tmp_path: Path) -> None:
    problem = refused(tmp_path, f"there is no file {tmp_path}/night.py", run='epochs = 3\ntask = "night.py"')
    assert problem.startswith("cluster.toml:7: run.task: ")
    (tmp_path / "night.py").mkdir()
    refused(
        tmp_path, "run.task: ", "night.py is a folder; name the file in it that the task is in", run='task = "night.py"'
    )


def test_a_file_that_python_can_t_import_by_its_name(tmp_path: Path) -> None:
    write(tmp_path, "night.v2.py")
    refused(tmp_path, "run.task: Python can't import night.v2.py: take the dot out", run='task = "night.v2.py"')


def test_a_module_that_is_not_there(tmp_path: Path) -> None:
    write(tmp_path, "vision/other.py", "src/vision/night.py")
    words = (f"neither {tmp_path}/vision/night.py nor {tmp_path}/vision/night/__init__.py", "looked for in run.project")
    refused(tmp_path, "run.task: there is no module vision.night: ", *words, run='task = "vision.night:Night"')
    refused(tmp_path, "run.project: there is no folder", run='task = "vision.night:Night"\nproject = "nowhere"')


def test_a_file_outside_its_project_or_left_out_of_it(tmp_path: Path) -> None:
    write(tmp_path, "night.py", "code/x.py", "lib/deep/night.py")
    refused(tmp_path, "run.task: lies outside run.project", run='task = "night.py"\nproject = "code"')
    write(tmp_path, ".motleyignore", text="night.py\n")
    ignored = f"run.task: is left out of the project by {tmp_path}/.motleyignore"
    refused(tmp_path, ignored, run='task = "night.py"')
    refused(tmp_path, ignored, run='task = "lib.deep.night:Night"')
    (tmp_path / ".motleyignore").unlink()
    (tmp_path / "near").symlink_to(tmp_path / "lib")
    refused(tmp_path, "is left out of the project: links to folders", run='task = "near.deep.night:Night"')


def test_what_would_hide_ours_is_refused_where_ranks_import_from(tmp_path: Path) -> None:
    write(tmp_path, "vision/night.py", "vision/motley.py")
    find(cluster_of(tmp_path, 'task = "vision.night:Night"'))  # it is vision.motley there
    hides = "has vision/motley.py, which ranks would import in place of Motley itself"
    refused(tmp_path, hides, run='task = "vision/night.py"\nproject = "."')
    write(tmp_path, "motley/__init__.py")
    refused(tmp_path, "has motley/__init__.py, which ranks", run='task = "vision.night:Night"')


@pytest.mark.parametrize("name", ["trainer.py", "profiles/__init__.py", "remote.py", "console/__init__.py"])
def test_names_of_our_folders_are_free(tmp_path: Path, name: str) -> None:
    write(tmp_path, "night.py", name)
    assert name in find(cluster_of(tmp_path, 'task = "night.py"')).files


def test_a_task_by_set_is_looked_for_too(tmp_path: Path) -> None:
    write(tmp_path, "night.py")
    (tmp_path / "cluster.toml").write_text(HOSTS)
    cluster = load(tmp_path / "cluster.toml", ["run.task=night.py", "task.width=3"])
    _, found = project_of(cluster)
    assert found is not None
    assert found.own_task is not None
    assert found.own_task.parameters == {"width": 3}
