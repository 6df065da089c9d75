"""The folder that a script needs on every host: found, looked over, and read into a tree for `push_code`.

`.motleyignore` at its top says what stays behind, by the rules of .gitignore. What no host needs stays behind anyway:
version control, caches, virtual environments, and `experiments/` beside cluster.toml.

    >>> project = find(cluster)
    >>> project.script, project.tree().folder
    ('train.py', '.motley/code/8f5a…')
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pathspec

from motley.remote.config.cluster import Cluster
from motley.remote.config.problems import Problems
from motley.remote.config.toml_lines import KeyPath, key_lines
from motley.remote.errors import ConfigError
from motley.remote.provision.push_code import File, Tree
from motley.trainer.contract.spec import Script

IGNORE_FILE = ".motleyignore"
MOST_MIB = 256
SCRIPT, PROJECT = ("run", "script"), ("run", "project")
NEVER = frozenset(
    {
        ".git", ".hg", ".svn", "__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".ipynb_checkpoints",
        ".tox", ".nox", "node_modules",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """`files` are relative to `root`, in order, with / between their parts; so is `script`, which is one of them."""

    root: Path
    script: str
    files: tuple[str, ...]

    def tree(self) -> Tree:
        """Its files as they are now."""
        return Tree.from_files([_read(self.root, path) for path in self.files], what="the project")


def project_of(cluster: Cluster) -> tuple[Tree, Script] | tuple[None, None]:
    """What the run of a script needs on every host, and what is started there; nothing for a task.

    Raises ConfigError as `find` does.
    """
    if cluster.run.script is None:
        return None, None
    project = find(cluster)
    try:
        tree = project.tree()
    except OSError as error:
        raise _wrong(cluster, SCRIPT, f"its project {project.root} can't be read: {error}") from error
    return tree, Script(path=project.script, args=cluster.run.args, tree=tree.hash, port=cluster.port)


def find(cluster: Cluster) -> Project:
    """The project of a cluster whose run has a script. Raises ConfigError that names the key and says what to do."""
    assert cluster.run.script is not None
    beside = cluster.path.absolute().parent
    path = _place(beside, cluster.run.script)
    if path.is_dir():
        raise _wrong(cluster, SCRIPT, f"{path} is a folder; name the file in it that is to be started")
    if not path.is_file():
        raise _wrong(cluster, SCRIPT, f"there is no file {path}; a path begins at the folder of cluster.toml")
    root = path.parent if cluster.run.project is None else _place(beside, cluster.run.project)
    if not root.is_dir():
        raise _wrong(cluster, PROJECT, f"there is no folder {root}; a path begins at the folder of cluster.toml")
    if not path.is_relative_to(root):
        raise _wrong(cluster, SCRIPT, f"lies outside run.project, {root}; name a project that holds it, or none")
    script = path.relative_to(root).as_posix()
    try:
        files = tuple(sorted(_files(root, _ignored(root), besides=beside / "experiments")))
        size = sum((root / file).stat().st_size for file in files)
    except (OSError, ValueError) as error:
        raise _wrong(cluster, SCRIPT, f"its project {root} can't be read: {error}") from error
    if script not in files:
        raise _wrong(cluster, SCRIPT, f"is left out of the project by {root / IGNORE_FILE}; take that pattern out")
    shadow = next((file for file in files if _hides_ours(file, script)), None)
    if shadow is not None:
        cause = f"its project {root} has {shadow}, which ranks would import in place of Motley itself"
        raise _wrong(cluster, SCRIPT, f"{cause}; give it another name, or name it in {root / IGNORE_FILE}")
    if size > MOST_MIB * 2**20:
        raise _wrong(cluster, SCRIPT, _too_large(root, files, size))
    return Project(root=root, script=script, files=files)


def _hides_ours(file: str, script: str) -> bool:
    """Whether it is a module or a package `motley` at the project's top or beside the script."""
    beside = script.rpartition("/")[0]
    near = file.removeprefix(f"{beside}/") if beside else file
    return any(path == "motley.py" or path.startswith("motley/") for path in (file, near))


def _place(beside: Path, given: str) -> Path:
    """Absolute, without `..`; links stay as they are."""
    return Path(os.path.normpath(beside / Path(given).expanduser()))


def _ignored(root: Path) -> pathspec.GitIgnoreSpec:
    """Raises ValueError for a pattern that is none, OSError when the file can't be read."""
    path = root / IGNORE_FILE
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return pathspec.GitIgnoreSpec.from_lines(lines)


def _files(root: Path, ignored: pathspec.GitIgnoreSpec, *, besides: Path, below: str = "") -> Iterator[str]:
    """Links to folders stay behind; a link to a file becomes the file. Raises OSError, ValueError for an odd name."""
    for entry in sorted(os.scandir(root / below), key=lambda entry: entry.name):
        path = f"{below}{entry.name}"
        if not entry.name.isprintable():  # also what is not UTF-8
            raise ValueError(f"{path!r} is no name that every host can have: rename it")
        if entry.name in NEVER or Path(entry.path) == besides:
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
