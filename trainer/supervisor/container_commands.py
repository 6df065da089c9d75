"""What docker and podman are told, and what they answer. Pure: `trainer.supervisor.containers` does the asking.

The supervisor of a host, its coordinator and everything that the master asks stay outside, with the host's own Python.
Only what trains runs in a container, one for each rank:

* The network, the address and the host's name are those of the host, and so is /dev/shm, which the workers of a
  DataLoader share. The user is the one who came over SSH, so that what is written is theirs.
* It sees the code, the run's own folder (the only one of these that it may write), and the data, each at the path that
  it has on the host, and what `[environment] mounts` names. Its home folder is otherwise empty, and forgotten at the
  end.
* Variables are named only; their values come from the environment of the client, where `ps` does not show them.
* Processes keep the tags of the run in their environment, which /proc shows on the host too. Containers bear them as
  labels. A run's tag among those is a hash of its folder, so that any path will do.
* Processes are numbered anew in each, and all of them end with the first. Only where several ranks of a host have GPUs
  they are numbered as on the host: CUDA's memory between processes, which NCCL uses there, fails where they are not.
* Nothing of it goes into the runtime's own log: the supervisor keeps the output, as ever.

    >>> listing("docker")
    ['docker', 'ps', '--all', '--no-trunc', '--filter', 'label=motley.tag', '--format', '{{.ID}} {{.Labels}}']
    >>> listed("8f5a01 motley.run=night,motley.tag=77aa,motley.member=2")
    [Listed(id='8f5a01', tag='77aa', member='2')]
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from motley.trainer.contract.spec import Container
from motley.trainer.host.process_title import ROOM
from motley.trainer.host.rank_environment import SET_BY_US

PYTHON = "python3"  # of the image, whatever the host's is called
TAG, MEMBER = "motley.tag", "motley.member"
FROM_US = (
    "HOME", "LOGNAME", "PYTHONUNBUFFERED", "RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GLOO_SOCKET_IFNAME",
)  # fmt: skip
SIGNALS = 64
_TAG = re.compile(r"\bmotley\.tag[=:]([0-9a-f]+)")
_MEMBER = re.compile(r"\bmotley\.member[=:]([0-9]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Who the processes are, in the container as outside."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()  # further ones


@dataclass(frozen=True, slots=True)
class Mount:
    """A folder of the host, at the same path inside where no `target` says another. Absolute."""

    path: str
    writable: bool = False
    target: str = ""

    @property
    def inside(self) -> str:
        return self.target or self.path


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A container of any run. `member` is empty where it belongs to none."""

    id: str
    tag: str
    member: str = ""


def tag_of(folder: PurePath) -> str:
    """The tag of the run in this folder, as a label has it."""
    return hashlib.sha256(str(folder).encode("utf-8", "surrogateescape")).hexdigest()[:24]


def labels(folder: PurePath, *, run: str, host: str, member: int | None = None) -> dict[str, str]:
    """`run` and `host` are for people who look at `docker ps`."""
    found = {TAG: tag_of(folder), "motley.run": run, "motley.host": host}
    return found if member is None else {**found, MEMBER: str(member)}


def running(
    container: Container,
    words: Sequence[str],
    *,
    user: User,
    home: str,
    folder: str,
    mounts: Iterable[Mount],
    names: Iterable[str],
    labels: Mapping[str, str],
    gpus: bool = False,
    host_pids: bool = False,
    attended: bool = False,
) -> list[str]:
    """The command that runs `python3 WORDS` in a new container, in `folder`. It ends with the container's exit code.

    `names` are the variables to take along; `host_pids`: processes are numbered as on the host; `attended`: it reads
    the client's standard input.
    """
    by_path = {mount.inside: mount for mount in sorted(mounts, key=lambda mount: mount.writable)}
    mounted = [by_path[path] for path in sorted(by_path)]
    bare_home = [] if home == "/" or home in by_path else _empty(home)
    return [
        container.runtime, "run", "--rm", *["--interactive"] * attended,
        "--network", "host", "--ipc", "host", "--log-driver", "none", "--security-opt", "label=disable",
        *_as_user(container, user),
        *(_gpus(container.runtime) if gpus else []),
        *(["--pid", "host"] if host_pids else []),
        "--workdir", folder,
        *bare_home, *(word for mount in mounted for word in ("--mount", _bound(mount))),
        *(word for name in sorted(set(names)) for word in ("--env", name)),
        *(word for name, value in labels.items() for word in ("--label", f"{name}={value}")),
        "--entrypoint", PYTHON, container.id, *words,
    ]  # fmt: skip


def passed(env: Mapping[str, str], given: Collection[str]) -> list[str]:
    """Of a rank's environment what goes into its container: `given` by cluster.toml, and set by us. The rest of it is
    the host's, whose PATH is of no use there."""
    ours = {*FROM_US, *SET_BY_US}
    return [n for n in env if n in given or n in ours or (n.startswith("MOTLEY_") and n != ROOM)]


def listing(runtime: str) -> list[str]:
    """Asks for all containers of ours, whether they run or not."""
    return [
        runtime, "ps", "--all", "--no-trunc", "--filter", f"label={TAG}", "--format", "{{.ID}} {{.Labels}}",
    ]  # fmt: skip


def listed(text: str) -> list[Listed]:
    """What it answers; docker shows labels as `name=value`, podman as `name:value`."""
    found = []
    for line in text.splitlines():
        name, _, rest = line.strip().partition(" ")
        if (tag := _TAG.search(rest)) and name:
            member = _MEMBER.search(rest)
            found.append(Listed(id=name, tag=tag[1], member=member[1] if member else ""))
    return found


def killing(runtime: str, ids: Sequence[str]) -> list[str]:
    return [runtime, "kill", "--signal", "KILL", *ids]


def removing(runtime: str, ids: Sequence[str]) -> list[str]:
    return [runtime, "rm", "--force", *ids]


def exit_code(code: int) -> int:
    """The exit code of `docker run` as that of the process inside: negative when a signal ended it.

    >>> exit_code(137), exit_code(1), exit_code(205), exit_code(-9)
    (-9, 1, 205, -9)
    """
    return 128 - code if 128 < code <= 128 + SIGNALS else code


def _as_user(container: Container, user: User) -> list[str]:
    if container.runtime == "podman":
        # Without root, podman maps the user to root inside, unless it is told to keep the numbers.
        return [*(["--userns", "keep-id"] if user.uid else []), "--user", f"{user.uid}:{user.gid}"]
    if container.rootless:
        return ["--user", "0:0"]  # which is the user outside
    further = [word for group in user.groups if group != user.gid for word in ("--group-add", str(group))]
    return ["--userns", "host", "--user", f"{user.uid}:{user.gid}", *further]


def _gpus(runtime: str) -> list[str]:
    return ["--device", "nvidia.com/gpu=all"] if runtime == "podman" else ["--gpus", "all"]


def _empty(folder: str) -> list[str]:
    """Memory, from which programs may run: what is compiled at run time is often kept in the home folder."""
    if ":" in folder:  # the short form ends a path there; in the long one no programs run
        return ["--mount", _row("type=tmpfs", f"target={folder}")]
    return ["--tmpfs", f"{folder}:rw,exec,nosuid,nodev,mode=1777"]


def _bound(mount: Mount) -> str:
    return _row("type=bind", f"source={mount.path}", f"target={mount.inside}", *["readonly"] * (not mount.writable))


def _row(*fields: str) -> str:
    """A line of CSV, so that a path may hold commas, colons and quotes."""
    return ",".join(_quoted(field) for field in fields)


def _quoted(field: str) -> str:
    return '"' + field.replace('"', '""') + '"' if re.search(r'[,"\r\n]', field) else field
