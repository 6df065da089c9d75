"""The containers of a run on its host: how ranks are started in them, and ending them for sure. Standard library only.

It is imported by those alone who have to do with one: half of what starting a supervisor takes would be its import.

`docker run` is a child of the supervisor as a rank would be: its output is the rank's, TERM to it reaches the rank, and
it ends with the rank's exit code. What else can happen to it (killed, cut off from its daemon) says nothing about the
container, so that is looked for by its label: before a rank starts again, at the end of a run, and by `stop`.

Three things keep a container from being left behind, each enough by itself:

* its first process ends with the supervisor (`trainer.supervisor.container_init`);
* its processes bear the run's tags, and are ended by these like any other (`trainer.host.processes`);
* containers with the run's label are killed and removed until the runtime lists none; one that does not answer counts
  as one that is left.

    >>> end("docker", folder)
    0
"""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from motley.trainer.contract import mount
from motley.trainer.contract.calibration import Calibration
from motley.trainer.contract.spec import Container, DataOptions, Member, Spec
from motley.trainer.devices.names import is_gpu
from motley.trainer.host.paths import HERE, project_folder, runs_folder
from motley.trainer.supervisor import container_commands
from motley.trainer.supervisor.container_commands import Listed, Mount, User, tag_of

ASK_S = 10.0  # for an answer of the runtime
COUNT_S = 3.0  # the same, for who only looks
END_S = 10.0  # until none of a run is listed any more
LOOK_S = 0.05
SETTLE_S = 3.0  # a container that was asked for is made within so long, though nobody waits for it any more
SYSTEM_DATA = "/usr/share/datasets"  # where Debian's packages have theirs


def of_rank(
    spec: Spec, folder: Path, words: Sequence[str], member: Member, env: Mapping[str, str]
) -> tuple[list[str], dict[str, str]]:
    """What starts a rank in its container, and the environment to start that with."""
    assert spec.container is not None
    verb, *rest = words
    mounts = [Mount(str(HERE)), Mount(str(folder), writable=True), *_data(spec.data)]
    mounts += _project(spec.project_tree)
    for place in (spec.resume, spec.script.resumed if spec.script is not None else None):
        mounts += _there(os.path.expanduser(place)) if place else []
    return _started(
        spec.container,
        ["contained", "--lock", str(folder / "lock"), verb, "--run", spec.run, "--host", spec.host, *rest],
        env, spec.env, mounts,
        labels=container_commands.labels(folder, run=spec.run, host=spec.host, member=member.member),
        gpus=is_gpu(member.device),
        host_pids=sum(is_gpu(other.device) for other in spec.local_members) > 1,
    )  # fmt: skip


def of_calibration(
    asked: Calibration, verb: str, folder: Path, env: Mapping[str, str]
) -> tuple[list[str], dict[str, str]]:
    """The same for a verb of `trainer.verbs.attended_child`; `folder` need not be there, it only makes the label."""
    assert asked.container is not None
    mounts = [Mount(str(HERE)), *_data(asked.data), *_project(asked.project_tree)]
    mounts += [Mount(asked.folder, writable=True)] if asked.folder else []
    return _started(
        asked.container, [verb], env, asked.env, mounts,
        labels=container_commands.labels(folder, run="", host=""), gpus=is_gpu(asked.device), attended=True,
    )  # fmt: skip


def of_export(
    spec: Spec, folder: Path, words: Sequence[str], *, label: Path | None = None, room: str = ""
) -> tuple[list[str], dict[str, str]]:
    """The same for `trainer.verbs.export` and `verify`, which read what the run in this folder has left; `room`: a
    folder besides."""
    assert spec.container is not None
    mounts = [Mount(str(HERE)), *_there(str(folder)), *_data(spec.data), *_project(spec.project_tree)]
    mounts += _there(room) if room else []
    label = label or folder / "export"
    return _started(
        spec.container, words, {**os.environ, **spec.env}, spec.env, mounts,
        labels=container_commands.labels(label, run="", host=""), gpus=False, attended=True,
    )  # fmt: skip


def end(
    runtime: str,
    folder: Path,
    *,
    member: int | None = None,
    wait: Callable[[float], object] = time.sleep,
    settle_s: float = 0.0,
    bound_s: float = END_S,
) -> int:
    """Kill and remove the containers of the run in this folder, or of one member, until none is listed.

    One may still come within `settle_s`. Returns how many are left after `bound_s`. Raises OSError when the runtime
    does not answer.
    """
    began = time.monotonic()
    while True:
        left = [c.id for c in _list(runtime, ASK_S) if c.tag == tag_of(folder) and _is_of(c, member)]
        passed_s = time.monotonic() - began
        if passed_s >= (bound_s if left else settle_s):
            return len(left)
        for argv in (
            (container_commands.killing(runtime, left), container_commands.removing(runtime, left)) if left else ()
        ):
            _ask(argv, ASK_S)  # what it says is of no interest: one may be gone by now, one may never have run
        wait(LOOK_S)


def end_of_run(
    container: Container,
    folder: Path,
    *,
    tell: Callable[[str], object],
    wait: Callable[[float], object] = time.sleep,
    settle_s: float = 0.0,
) -> int:
    """The same at the end of a run. `tell` hears why it is not known; then one counts as left."""
    try:
        return end(container.runtime, folder, wait=wait, settle_s=settle_s)
    except OSError as error:
        tell(f"whether a container is left is not known: {error}")
        return 1


def counts(runtime: str) -> Counter[str]:
    """How many containers there are of each run, by `tag_of` its folder; none known where the runtime is silent."""
    try:
        return Counter(found.tag for found in _list(runtime, COUNT_S))
    except OSError:
        return Counter()


def of_user(mounts: Sequence[str]) -> list[Mount]:
    """Folders of the user's. One of the home folder that is not there yet is made: the runtime would make it root's.

    Raises OSError that names one that can't be made.
    """
    found = []
    for folder in map(mount.parse, mounts):
        source = os.path.expanduser(folder.source)
        if folder.writable and folder.source.startswith("~/"):
            os.makedirs(source, mode=0o700, exist_ok=True)
        found.append(Mount(source, writable=folder.writable, target=os.path.expanduser(folder.target)))
    return found


def _started(
    container: Container,
    words: Sequence[str],
    env: Mapping[str, str],
    given: Mapping[str, str],
    mounts: Sequence[Mount],
    *,
    labels: Mapping[str, str],
    gpus: bool,
    host_pids: bool = False,
    attended: bool = False,
) -> tuple[list[str], dict[str, str]]:
    home = str(Path.home())
    mounts = [*of_user(container.mounts), *mounts]
    whole = {**env, "HOME": home, "LOGNAME": _user_name()}  # the image may not know the user
    argv = container_commands.running(
        container, ["-m", "motley.trainer", *words],
        user=User(uid=os.getuid(), gid=os.getgid(), groups=tuple(os.getgroups())), home=home, folder=str(HERE),
        mounts=mounts, names=container_commands.passed(whole, given), labels=labels, gpus=gpus, host_pids=host_pids,
        attended=attended,
    )  # fmt: skip
    argv[0] = shutil.which(argv[0]) or argv[0]  # by our own PATH, not by that of the rank
    return argv, whole


def _data(options: DataOptions) -> list[Mount]:
    own = runs_folder().parent / "data"
    own.mkdir(parents=True, mode=0o700, exist_ok=True)  # the runtime would make it root's
    named = os.path.abspath(os.path.expanduser(options.path)) if options.path else ""
    return [Mount(str(own), writable=True), *_there(SYSTEM_DATA), *_there(named)]


def _project(tree: str) -> list[Mount]:
    return [Mount(str(project_folder(tree)))] if tree else []


def _there(path: str) -> list[Mount]:
    return [Mount(path)] if os.path.isdir(path) else []


def _is_of(found: Listed, member: int | None) -> bool:
    return member is None or found.member == str(member)


def _list(runtime: str, within_s: float) -> list[Listed]:
    code, said = _ask(container_commands.listing(runtime), within_s)
    if code != 0:
        raise OSError(f"{runtime} does not say which there are: {said.strip()[-300:] or f'exit code {code}'}")
    return container_commands.listed(said)


def _ask(argv: Sequence[str], within_s: float) -> tuple[int, str]:
    """Exit code and output. Raises OSError when it can't be started, or does not end in time."""
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=within_s,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise OSError(f"{argv[0]} {argv[1]} did not answer within {within_s:g} s") from error
    return done.returncode, done.stdout.decode(errors="replace")


def _user_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
