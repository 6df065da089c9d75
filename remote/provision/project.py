"""The folder that a script, a task or a balancing policy of the user's own needs on every host: found, looked over, and
read into a tree for `push_code`.

`.motleyignore` at its top says what stays behind, by the rules of .gitignore. What no host needs stays behind anyway:
version control, caches, virtual environments, cluster.toml itself and `experiments/` beside it.

    >>> project = find(cluster)
    >>> project.entry, project.tree().folder
    ('train.py', '.motley/code/8f5a…')
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import pathspec

from motley.remote.config.check_script import program_key
from motley.remote.config.cluster import Cluster
from motley.remote.config.problems import Problems
from motley.remote.config.toml_lines import KeyPath, key_lines
from motley.remote.errors import ConfigError
from motley.remote.provision.push_code import File, Tree
from motley.trainer.contract.policy_name import FUNCTION, OwnPolicy
from motley.trainer.contract.script import Script, missing
from motley.trainer.contract.task_name import Named, OwnTask

IGNORE_FILE = ".motleyignore"
MOST_MIB = 256
TASK, PROJECT, POLICY = ("run", "task"), ("run", "project"), ("balance", "policy")
SCRIPT, MODULE = ("run", "script"), ("run", "module")
NEVER = frozenset(
    {
        ".git", ".hg", ".svn", "__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".ipynb_checkpoints",
        ".tox", ".nox", "node_modules",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class UserCode:
    """The user's own, as a host finds it: a script, or a task, or a policy, or both of these; in one project. A task
    that comes with Motley and has parameters is there too."""

    tree: str  # its hash; empty: there is none, and no policy of the user's own
    script: Script | None = None
    own_task: OwnTask | None = None
    own_policy: OwnPolicy | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """`files` are relative to `root`, in order, with / between their parts. Among them are `entry`, the script or the
    file that the task is in, and `policy`, that of the policy where it is the user's own."""

    root: Path
    entry: str
    files: tuple[str, ...]
    policy: str = ""

    def tree(self) -> Tree:
        """Its files as they are now."""
        return Tree.from_files([_read(self.root, path) for path in self.files], what="the project")


def project_of(cluster: Cluster) -> tuple[Tree | None, UserCode | None]:
    """What a script, a task or a policy of the user's own needs on every host, and how a host finds it there; nothing
    where all of it comes with Motley, but a task that has parameters is told all the same.

    Raises ConfigError as `find` does.
    """
    ours = cluster.included
    own_task = OwnTask(tree="", module=ours.module, name=ours.name, parameters=cluster.task) if ours else None
    if not cluster.has_project:
        return None, UserCode(tree="", own_task=own_task) if own_task is not None else None
    project = find(cluster)
    try:
        tree = project.tree()
    except OSError as error:
        raise _wrong(cluster, _key(cluster), f"its project {project.root} can't be read: {error}") from error
    script = own_policy = None
    if cluster.run.program is not None:
        run, path = cluster.run, project.entry if cluster.run.script else ""
        script = Script(
            path=path, module=run.module or "", command=run.command, args=run.args, tree=tree.hash, port=cluster.port
        )
    if (named := cluster.own_task) is not None:
        file = project.entry if named.file else ""
        own_task = OwnTask(tree=tree.hash, file=file, module=named.module, name=named.name, parameters=cluster.task)
    if (named := cluster.own_policy) is not None:
        file = project.policy if named.file else ""
        own_policy = OwnPolicy(tree=tree.hash, file=file, module=named.module, name=named.name or FUNCTION)
    return tree, UserCode(tree=tree.hash, script=script, own_task=own_task, own_policy=own_policy)


def find(cluster: Cluster) -> Project:
    """The project of a cluster that `has_project`. Raises ConfigError that names the key and says what to do."""
    key, beside = _key(cluster), Path(os.path.normpath(cluster.path.absolute().parent))
    run = cluster.run
    named = cluster.own_task or (cluster.own_policy if run.program is None else None)
    named = named or Named(run.script or "", run.module or "", "")
    given = None if cluster.run.project is None else _place(beside, cluster.run.project)
    if given is not None and not given.is_dir():
        raise _wrong(cluster, PROJECT, f"there is no folder {given}; a path begins at the folder of cluster.toml")
    path = None if run.command else _file(cluster, key, named, given or beside, beside)
    root = given or (beside if path is None or named.module else path.parent)
    entry = "" if path is None else _inside(cluster, key, root, path)
    if run.command and "/" in run.command[0] and (problem := missing(run.command[0], str(root), "")):
        raise _wrong(cluster, key, f"{problem}; the project is {root}")
    policy = ""
    if cluster.own_policy is not None:
        policy = _inside(cluster, POLICY, root, _file(cluster, POLICY, cluster.own_policy, root, beside))
    try:
        ignored = _ignored(root)
        besides = (beside / "experiments", beside / cluster.path.name)
        files = tuple(sorted(_files(root, ignored, besides=besides)))
        size = sum((root / file).stat().st_size for file in files)
    except (OSError, ValueError) as error:
        raise _wrong(cluster, key, f"its project {root} can't be read: {error}") from error
    for path_key, wanted in ((key, entry), (POLICY, policy)):
        if wanted and wanted not in files:
            raise _wrong(cluster, path_key, _left_out(root, wanted, ignored))
    folders = {"", "" if named.module else entry.rpartition("/")[0], policy.rpartition("/")[0]}
    shadow = next((file for file in files if _hides_ours(file, folders)), None)
    if shadow is not None:
        cause = f"its project {root} has {shadow}, which ranks would import in place of Motley itself"
        raise _wrong(cluster, key, f"{cause}; give it another name, or name it in {root / IGNORE_FILE}")
    if size > MOST_MIB * 2**20:
        raise _wrong(cluster, key, _too_large(root, files, size))
    return Project(root=root, entry=entry, files=files, policy=policy)


def _file(cluster: Cluster, key: KeyPath, named: Named, root: Path, beside: Path) -> Path:
    """Where the file that `key` names is: a module from `root`, a file from the folder of cluster.toml."""
    if named.module:
        return _module(cluster, key, root, named.module)
    path = _place(beside, named.file)
    if path.is_dir():
        what = "that is to be started" if key == SCRIPT else f"that the {key[1]} is in"
        raise _wrong(cluster, key, f"{path} is a folder; name the file in it {what}")
    if key != SCRIPT and "." in path.stem:
        raise _wrong(cluster, key, f"Python can't import {path.name}: take the dot out of the name before .py")
    if not path.is_file():
        raise _wrong(cluster, key, f"there is no file {path}; a path begins at the folder of cluster.toml")
    return path


def _inside(cluster: Cluster, key: KeyPath, root: Path, path: Path) -> str:
    """The path of a file in the project, with / between its parts."""
    if path.is_relative_to(root):
        return path.relative_to(root).as_posix()
    if cluster.run.project is None:
        text = f"lies outside the project, {root}; run.project names a folder that holds both"
        raise _wrong(cluster, key, text)
    raise _wrong(cluster, key, f"lies outside run.project, {root}; name a project that holds it, or none")


def _key(cluster: Cluster) -> KeyPath:
    if cluster.run.program is not None:
        return "run", program_key(cluster.run)
    return TASK if cluster.own_task is not None else POLICY


def _module(cluster: Cluster, key: KeyPath, root: Path, name: str) -> Path:
    """The file of a module that is to be imported from `root`; as in Python, a package goes before a file."""
    place = root.joinpath(*name.split("."))
    of_package = "__main__.py" if key == MODULE else "__init__.py"  # what `python -m` runs of a package
    candidates = (place / of_package, place.with_name(f"{place.name}.py"))
    found = next((path for path in candidates if path.is_file()), None)
    if found is None:
        where = "; a module is looked for in run.project, by default the folder of cluster.toml"
        raise _wrong(cluster, key, f"there is no module {name}: neither {candidates[1]} nor {candidates[0]}{where}")
    return found


def _left_out(root: Path, entry: str, ignored: pathspec.GitIgnoreSpec) -> str:
    if ignored.match_file(entry):
        return f"is left out of the project by {root / IGNORE_FILE}; take that pattern out"
    what = "links to folders, virtual environments, version control and caches are"
    return f"is left out of the project: {what}. Move {entry} out of such a folder"


def _hides_ours(file: str, folders: Collection[str]) -> bool:
    """Whether it is a module or a package `motley` in one of the folders that ranks import from."""
    near = (file.removeprefix(f"{folder}/") if folder else file for folder in folders)
    return any(path == "motley.py" or path.startswith("motley/") for path in near)


def _place(beside: Path, given: str) -> Path:
    """Absolute, without `..`; links stay as they are."""
    return Path(os.path.normpath(beside / os.path.expanduser(given)))


def _ignored(root: Path) -> pathspec.GitIgnoreSpec:
    """Raises ValueError for a pattern that is none, OSError when the file can't be read."""
    path = root / IGNORE_FILE
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return pathspec.GitIgnoreSpec.from_lines(lines)


def _files(root: Path, ignored: pathspec.GitIgnoreSpec, *, besides: Collection[Path], below: str = "") -> Iterator[str]:
    """Links to folders stay behind; a link to a file becomes the file. Raises OSError, ValueError for an odd name."""
    for entry in sorted(os.scandir(root / below), key=lambda entry: entry.name):
        path = f"{below}{entry.name}"
        if not entry.name.isprintable():  # also what is not UTF-8
            raise ValueError(f"{path!r} is no name that every host can have: rename it")
        if entry.name in NEVER or Path(entry.path) in besides:
            continue
        if entry.is_dir(follow_symlinks=False):
            if not ignored.match_file(f"{path}/") and not os.path.exists(f"{entry.path}/pyvenv.cfg"):
                yield from _files(root, ignored, besides=besides, below=f"{path}/")
        elif entry.is_file() and not ignored.match_file(path):
            yield path


def _read(root: Path, path: str) -> File:
    file = root / path
    return File(path=path, executable=bool(file.stat().st_mode & 0o100), content=file.read_bytes())


def _too_large(root: Path, files: tuple[str, ...], size: int) -> str:
    """What takes the room: by the folders and files at the top."""
    sizes: dict[str, int] = {}
    for file in files:
        top = file.partition("/")[0] + "/" * ("/" in file)
        sizes[top] = sizes.get(top, 0) + (root / file).stat().st_size
    largest = sorted(sizes, key=lambda top: -sizes[top])[:3]
    what = ", ".join(f"{top} {sizes[top] / 2**20:.0f} MiB" for top in largest)
    return (
        f"its project {root} is {size / 2**20:.0f} MiB ({what}), {MOST_MIB} is the most; "
        f"name in {root / IGNORE_FILE} what the hosts don't need"
    )


def _wrong(cluster: Cluster, path: KeyPath, text: str) -> ConfigError:
    problems = Problems(key_lines(cluster.text), cluster.path.name)
    problems.add(path, text)
    return ConfigError(str(cluster.path), problems.lines({}))
