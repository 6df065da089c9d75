"""The one command line that a host is given, quoted for whatever login shell the user has there.

sshd hands the line to the login shell (sh, bash, zsh, fish, csh), which only has to start `sh`; the rest is POSIX.
Start-up files may print a greeting first, so the command's own output begins after the line `MARK`.

    >>> login_line(["python3", "-m", "motley.trainer"], cwd=".motley/code/1f")
    'exec sh -c \\'echo motley-begin; cd "$HOME"/.motley/code/1f && exec python3 -m motley.trainer\\''
"""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Sequence

from motley.remote.config.cluster import Cluster, Host
from motley.remote.quoting import pasteable

MARK = "motley-begin"
_OUTSIDE = {"'": '"\'"', "\\": "\\\\", "!": "\\!"}  # what fish or csh read differently inside single quotes


def login_line(argv: Sequence[str], cwd: str | None = None) -> str:
    """A line that runs `argv` in `cwd` (relative to the home folder, the default, unless absolute).

    A program (the first word, or what `env` with variables runs) or folder that starts with `~/` is in the home folder
    too. Raises ValueError on a line break, which csh can't carry.
    """
    folder = f"cd {_path(cwd, relative_to_home=True)} && " if cwd is not None else ""
    variables = itertools.takewhile(lambda word: word == "env" or "=" in word, argv if argv[0] == "env" else ())
    program = sum(1 for _ in variables)
    words = [_path(word) if number == program else shlex.quote(word) for number, word in enumerate(argv)]
    return f"exec sh -c {_login_word(f'echo {MARK}; {folder}exec ' + ' '.join(words))}"


def plain_line(argv: Sequence[str], *, login: bool) -> str:
    """A line that runs `argv` as it is, and says nothing when it begins. `login`: with what a login shell sets."""
    command = "exec " + " ".join(map(shlex.quote, argv))
    return f"exec sh {'-lc' if login else '-c'} {_login_word(command)}"


def ssh_words(address: str, *, user: str | None, port: int | None, identity: str | None, jump: str | None) -> list[str]:
    """The arguments that make OpenSSH's `ssh` go where cluster.toml says."""
    words: list[str] = []
    for flag, value in (("-J", jump), ("-i", identity), ("-p", port), ("-l", user)):
        words += [flag, str(value)] if value is not None else []
    return [*words, address]


def there(host: Host, command: str) -> str:
    """A command to paste that runs on the host; a demo host is this machine. sudo gets a terminal for its question.

    >>> there(host, "sudo systemctl start ssh")
    "ssh -t -l ada 192.168.0.7 'sudo systemctl start ssh'"
    """
    if host.way.here:
        return command
    if host.pod is not None:
        return f"kubectl exec {host.pod.run or 'RUN'}-POD -- sh -c {shlex.quote(command)}"
    if host.slurm is not None:
        where = [f"--jobid={host.slurm.job}", "--overlap", f"--nodelist={host.slurm.node}"]
        return f"{pasteable(['srun', *where, 'sh', '-c'])} {shlex.quote(command)}"
    words = ssh_words(host.address, user=host.user, port=host.port, identity=host.identity, jump=host.jump)
    terminal = ["-t"] if "sudo " in command else []
    return f"{pasteable(['ssh', *terminal, *words])} {shlex.quote(command)}"


def _path(path: str, relative_to_home: bool = False) -> str:
    if path.startswith("~/"):
        return f'"$HOME"/{shlex.quote(path[2:])}'
    if relative_to_home and not path.startswith("/"):
        return f'"$HOME"/{shlex.quote(path)}'
    return shlex.quote(path)


def _login_word(text: str) -> str:
    if "\n" in text or "\r" in text or "\0" in text:
        raise ValueError("a command can't hold a line break")
    parts: list[str] = []
    plain = ""
    for char in text:
        if char in _OUTSIDE:
            parts += [f"'{plain}'"] * bool(plain) + [_OUTSIDE[char]]
            plain = ""
        else:
            plain += char
    return "".join(parts + [f"'{plain}'"] * bool(plain))


def motley(cluster: Cluster, *words: str) -> str:
    """A command of ours, for this cluster.toml."""
    config = [] if str(cluster.path) == "cluster.toml" else ["-c", str(cluster.path)]
    return pasteable(["motley", *words, *config])
