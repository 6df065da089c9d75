"""The folder of a script: what goes to the hosts, what stays behind, mistakes that are told before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from motley.remote.config.cluster import Cluster
from motley.remote.config.command_line import needs_task
from motley.remote.config.load import load
from motley.remote.errors import ConfigError, UsageError
from motley.remote.provision import project as projects
from motley.remote.provision.data import check_there
from motley.remote.provision.project import find, project_of

HOSTS = '[[hosts]]\nname = "box1"\n[[hosts]]\nname = "box2"\n'


def write(root: Path, *paths: str, text: str = "x\n") -> None:
    for path in paths:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def cluster_of(folder: Path, run: str = 'script = "train.py"', more: str = "", hosts: str = HOSTS) -> Cluster:
    path = folder / "cluster.toml"
    path.write_text(f"{hosts}[run]\n{run}\n{more}")
    return load(path)


def refused(folder: Path, *words: str, **given: str) -> str:
    """The one problem that the file has."""
    with pytest.raises(ConfigError) as caught:
        project_of(cluster_of(folder, **given))
    (problem,) = caught.value.problems
    for word in words:
        assert word in problem
    assert caught.value.exit_code == 2
    return problem


def test_what_hosts_never_need_stays_behind(tmp_path: Path) -> None:
    write(tmp_path, "train.py", "lib/model.py", "lib/.hidden", "data/words.txt", ".git/config", "__pycache__/train.pyc")
    write(tmp_path, "lib/__pycache__/model.pyc", "experiments/old/summary.json", "lib/experiments/notes.md")
    write(tmp_path, "venv/pyvenv.cfg", "venv/bin/python", "node_modules/left.js", ".mypy_cache/x")
    found = find(cluster_of(tmp_path))
    assert found.files == (
        "data/words.txt", "lib/.hidden", "lib/experiments/notes.md", "lib/model.py", "train.py",
    )  # fmt: skip
    assert (found.root, found.entry) == (tmp_path, "train.py")


def test_motleyignore_goes_by_the_rules_of_gitignore(tmp_path: Path) -> None:
    write(
        tmp_path, "train.py", "a/big.bin", "a/small.bin", "data/x", "lib/data/x", "logs/1.txt", "b/logs/2.txt", "n.tmp"
    )
    (tmp_path / ".motleyignore").write_text("# comment\n*.bin\n!small.bin\n/data/\nlogs\n*.t?p\n*.toml\n")
    assert find(cluster_of(tmp_path)).files == (".motleyignore", "a/small.bin", "lib/data/x", "train.py")


def test_links_to_files_become_files_and_links_to_folders_stay_behind(tmp_path: Path) -> None:
    write(tmp_path, "far/data.bin", "far/folder/x", text="far")
    write(tmp_path, "near/train.py")
    (tmp_path / "near/data.bin").symlink_to(tmp_path / "far/data.bin")
    (tmp_path / "near/folder").symlink_to(tmp_path / "far/folder")
    (tmp_path / "near/nowhere").symlink_to(tmp_path / "gone")
    tree, found = project_of(cluster_of(tmp_path, 'script = "near/train.py"'))
    assert tree is not None
    assert found is not None
    script = found.script
    assert script is not None
    assert [(file.path, file.content) for file in tree.files] == [("data.bin", b"far"), ("train.py", b"x\n")]
    assert (script.path, script.tree) == ("train.py", tree.hash)


def test_the_tree_is_another_one_only_when_something_in_it_has_changed(tmp_path: Path) -> None:
    write(tmp_path, "train.py", "junk/x")
    (tmp_path / ".motleyignore").write_text("junk\n*.toml\n")
    first, _ = project_of(cluster_of(tmp_path))
    write(tmp_path, "junk/y", "__pycache__/z")
    same, _ = project_of(cluster_of(tmp_path, more="[elastic]\nrestarts = 1\n"))
    write(tmp_path, "train.py", text="y\n")
    other, _ = project_of(cluster_of(tmp_path))
    assert first is not None
    assert first == same
    assert first != other
    assert first.what == "the project"


def test_a_project_around_the_script(tmp_path: Path) -> None:
    write(tmp_path, "code/src/train.py", "code/lib/x.py", "else.py")
    found = find(cluster_of(tmp_path, 'script = "code/src/train.py"\nproject = "code"\nargs = ["--lr", "0.1"]'))
    assert (found.entry, found.files) == ("src/train.py", ("lib/x.py", "src/train.py"))
    assert project_of(cluster_of(tmp_path, 'task = "mlp/digits"')) == (None, None)


def test_a_script_that_is_not_there_is_named_with_its_line_and_key(tmp_path: Path) -> None:
    problem = refused(tmp_path, f"there is no file {tmp_path}/train.py", "begins at the folder of cluster.toml")
    assert problem.startswith("cluster.toml:6: run.script: ")
    (tmp_path / "train.py").mkdir()
    refused(tmp_path, "train.py is a folder")


def test_a_script_outside_its_project_and_a_project_that_is_not_there(tmp_path: Path) -> None:
    write(tmp_path, "train.py", "code/x.py")
    refused(tmp_path, "run.script: lies outside run.project", run='script = "train.py"\nproject = "code"')
    refused(tmp_path, "run.project: there is no folder", run='script = "train.py"\nproject = "cod"')


def test_a_script_that_is_ignored_and_a_project_that_is_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "train.py", ".motleyignore", text="*.py\n")
    refused(tmp_path, "run.script: is left out of the project by", ".motleyignore")
    (tmp_path / ".motleyignore").unlink()
    monkeypatch.setattr(projects, "MOST_MIB", 2)
    write(tmp_path, "data/a", "data/b", text="x" * 2**20)
    refused(tmp_path, f"{tmp_path} is 2 MiB (data/ 2 MiB, ", "2 is the most", f"name in {tmp_path}/.motleyignore")


@pytest.mark.parametrize("path", ["motley.py", "motley/__init__.py", "src/motley.py", "src/motley/x/y.py"])
def test_a_module_that_hides_ours_is_refused_by_name(tmp_path: Path, path: str) -> None:
    write(tmp_path, "src/train.py", "src/far/motley.py", "motley.toml")
    run = 'script = "src/train.py"\nproject = "."'
    cluster = cluster_of(tmp_path, run)
    assert "src/far/motley.py" in find(cluster).files
    write(tmp_path, path)
    with pytest.raises(ConfigError, match=f"has {path}, which ranks would import in place of Motley itself"):
        find(cluster)
    (tmp_path / ".motleyignore").write_text(f"/{path}\n")
    find(cluster)


def test_a_name_that_no_other_machine_can_have(tmp_path: Path) -> None:
    write(tmp_path, "train.py")
    (tmp_path / "bad\nname").write_text("x")
    refused(tmp_path, "'bad\\nname' is no name that every host can have")


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        ('script = "train.py"\ntask = "mlp/digits"', "run.task: script is given too; keep one of them"),
        ('args = ["--lr", "1"]', 'run.args: is for a script; name one, such as script = "train.py"'),
        ('project = "."', "run.project: is for a script"),
        ('script = ""', 'run.script: "" is empty'),
        ('script = "-x"', 'run.script: "-x" must not begin with -'),
        ("script = 3", "run.script: must be text"),
        ('module = "train.py"', 'run.module: "train.py" is a file: name it as script, or take .py away'),
        ('module = ""', 'run.module: "" is no module'),
        ("command = []", "run.command: is empty; leave the key out instead"),
        ('command = ["-x"]', 'run.command: "-x" must not begin with -'),
        ('command = ["a", "b\\u0000"]', "run.command.#2: has a NUL character"),
        ('command = "accelerate launch"', "run.command: must be a list"),
        ('command = ["a"]\nmodule = "b"', "run.command: module is given too; keep one of them"),
        ('module = "train"\ntask = "mlp/digits"', "run.task: module is given too; keep one of them"),
        ('script = "train.py"\nargs = [1]', 'run.args.#1: must be text, is 1; write it in quotes: "1"'),
    ],
)
def test_keys_that_do_not_go_together(tmp_path: Path, run: str, expected: str) -> None:
    refused(tmp_path, expected, run=run)


def test_restarts_and_ports_out_of_bounds(tmp_path: Path) -> None:
    refused(tmp_path, "elastic.restarts: must be at least 0, is -1", more="[elastic]\nrestarts = -1\n")
    refused(tmp_path, "cluster.port: must be at most 65534 for a script", more="[cluster]\nport = 65535\n")


def test_a_script_by_set_takes_the_place_of_the_task_and_the_other_way_round(tmp_path: Path) -> None:
    path = tmp_path / "cluster.toml"
    path.write_text(f'{HOSTS}[run]\ntask = "mlp/digits"\n')
    assert load(path, ["run.script=train.py"]).run.script == "train.py"
    path.write_text(f'{HOSTS}[run]\nscript = "train.py"\nargs = ["x"]\n')
    assert load(path, ["run.task=mlp/digits"]).run.script is None


def test_a_module_is_looked_for_in_the_project_as_python_does(tmp_path: Path) -> None:
    write(tmp_path, "src/main.py", "src/tool/__main__.py", "src/tool/__init__.py")
    for name, entry in (("src.main", "src/main.py"), ("src.tool", "src/tool/__main__.py")):
        cluster = cluster_of(tmp_path, f'module = "{name}"\nargs = ["-v"]')
        assert find(cluster).entry == entry
        _, code = project_of(cluster)
        assert code is not None
        assert code.script is not None
        assert code.script.argv("python", {}) == ["python", "-m", name, "-v"]
    lib = tmp_path / "lib"
    write(lib, "one.py")
    assert find(cluster_of(tmp_path, 'module = "one"\nproject = "lib"')).root == lib
    refused(tmp_path, "run.module: there is no module src.other", run='module = "src.other"')
    write(tmp_path, "plain/__init__.py")
    refused(tmp_path, "run.module: there is no module plain", "__main__.py", run='module = "plain"')


def test_a_command_has_the_folder_of_cluster_toml_as_its_project(tmp_path: Path) -> None:
    write(tmp_path, "lib/train.py", "go.sh")
    cluster = cluster_of(tmp_path, 'command = ["accelerate", "launch", "lib/train.py"]\nargs = ["--lr", "1"]')
    assert find(cluster).files == ("go.sh", "lib/train.py")
    assert cluster.run.program == "accelerate launch lib/train.py"
    refused(tmp_path, "run.command: './go.sh' can't be executed: chmod +x mends it", run='command = ["./go.sh"]')
    refused(tmp_path, "run.command: there is no file './no.sh' in the project", run='command = ["./no.sh"]')
    (tmp_path / "go.sh").chmod(0o755)
    assert find(cluster_of(tmp_path, 'command = ["./go.sh"]')).root == tmp_path


@pytest.mark.parametrize("run", ['module = "lib.train"', 'command = ["python", "lib/train.py"]'])
def test_a_session_is_seen_in_a_module_and_in_a_file_of_a_command(tmp_path: Path, run: str) -> None:
    write(tmp_path, "lib/train.py", text="import motley\n")
    assert not cluster_of(tmp_path, run).session
    write(tmp_path, "lib/train.py", text="import motley\nmotley.session()\n")
    assert cluster_of(tmp_path, run).session


def test_one_program_by_set_takes_the_place_of_the_other(tmp_path: Path) -> None:
    path = tmp_path / "cluster.toml"
    path.write_text(f'{HOSTS}[run]\nscript = "train.py"\n')
    module = load(path, ["run.module=src.main"]).run
    assert (module.program, module.script) == ("python -m src.main", None)
    assert load(path, ['run.command=["make", "train"]']).run.program == "make train"
    assert load(path, ["run.task=mlp/digits"]).run.program is None


def test_what_a_script_does_not_heed_is_known(tmp_path: Path) -> None:
    write(tmp_path, "train.py")
    cluster = cluster_of(
        tmp_path,
        'script = "train.py"\nthreads = 2\nepochs = 3',
        '[balance]\npolicy = "static"\nshares = [1, 2]\n[elastic]\nmin_hosts = 2\nstuck_after_s = 5\n'
        '[data]\npath = "x"\n',
        hosts='[defaults]\nmax_batch = 3\n[[hosts]]\nname = "box1"\n[[hosts]]\nname = "box2"\n',
    )
    assert cluster.unheeded == (
        "run.epochs", "elastic.stuck_after_s", "balance.policy", "balance.shares", "hosts.max_batch",
    )  # fmt: skip
    assert cluster_of(tmp_path, "epochs = 3").unheeded == ()


@pytest.mark.parametrize("line", ["run = motley.session()", "from motley import Task, session"])
def test_a_script_that_calls_a_session_heeds_more(tmp_path: Path, line: str) -> None:
    write(tmp_path, "train.py", text=f"import motley\n{line}\n")
    more = "[balance]\nwindow = 9\n[elastic]\nstuck_after_s = 5\n"
    hosts = '[defaults]\nmax_batch = 3\n[[hosts]]\nname = "box1"\n'
    cluster = cluster_of(tmp_path, 'script = "train.py"\nseed = 2\nepochs = 3', more, hosts=hosts)
    assert (cluster.session, cluster.unheeded) == (True, ("run.epochs",))


def test_a_script_without_a_session_can_not_be_profiled_and_planned(tmp_path: Path) -> None:
    cluster, task = cluster_of(tmp_path), cluster_of(tmp_path, "epochs = 3")
    text = r"motley plan is for a task, or .* calls motley\.session\(\); train\.py \(\[run\] script\) does not"
    with pytest.raises(UsageError, match=text):
        needs_task(cluster, "motley plan")
    needs_task(task, "motley plan")
    write(tmp_path, "train.py", text="import motley\nrun = motley.session()\n")
    needs_task(cluster_of(tmp_path), "motley plan")


def test_the_ranks_of_a_script_meet_at_the_port_and_the_coordinator_takes_the_next(tmp_path: Path) -> None:
    write(tmp_path, "train.py")
    cluster = cluster_of(tmp_path, more="[cluster]\nport = 31000\n")
    _, found = project_of(cluster)
    assert found is not None
    script = found.script
    assert script is not None
    assert (script.port, cluster.coordinator_port) == (31000, 31001)


@pytest.mark.parametrize(
    "run", ['script = "train.py"\nproject', "script", 'module = "train"\nproject', 'command = ["train.py"]\nproject']
)
def test_a_home_of_nobody_is_a_folder_that_is_not_there(tmp_path: Path, run: str) -> None:
    write(tmp_path, "train.py")
    assert "~nobody-has-this-name" in refused(tmp_path, run=f'{run} = "~nobody-has-this-name/x"')


def test_data_in_a_home_of_nobody_is_a_folder_that_is_not_there(tmp_path: Path) -> None:
    cluster = cluster_of(tmp_path, run='task = "mlp/digits"', more='[data]\npush = "~nobody-has-this-name/x"\n')
    with pytest.raises(ConfigError, match="there is no folder .*/~nobody-has-this-name/x"):
        check_there(cluster)
