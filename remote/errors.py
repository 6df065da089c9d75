"""The errors of `remote`: each names the host, the cause and what to do next.

    MotleyError                     message; exit_code of the command it ends
    ├── ConfigError                 cluster.toml: every problem found, each with its key (2)
    │   └── NoConfig                there is none
    ├── UsageError                  a name that exists, a run that is not there (2)
    ├── HostError                   one host: host, cause, remedy (3)
    │   ├── Unreachable             no route, refused, timed out, name not found
    │   ├── HostKeyUnknown          no entry in known_hosts
    │   ├── HostKeyChanged          another key than the one in known_hosts
    │   ├── AuthenticationFailed    the host refused every key, or the password
    │   │   └── NoPasswords         the host lets nobody in by password
    │   └── CommandFailed           a command there ended with an error, or said what we can't read
    │       ├── StartRefused        the host says that it started nothing
    │       ├── NoShell             the login shell there starts no command
    │       └── WrongSystem         no Linux: the login shell is that of Windows
    ├── CheckFailed                 the preflight: all findings (3)
    ├── RunFailed                   the run could not be started, or ended badly (1)
    └── NotWritten                  a file of the user's on this machine could not be written (1)

asyncssh's and the system's own errors are turned into these in `remote.ssh.connection` and nowhere else. What a host
has said may stand in any of them, so their texts are made safe to show here, whoever makes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from motley.remote.sanitize import clean_lines

OVERLOADED = "The machine may be overloaded; try again."  # the remedy of what took too long


class MotleyError(Exception):
    """Base of all errors that a user can meet; `str(error)` is what they read."""

    exit_code = 1

    def __init__(self, text: str) -> None:
        super().__init__(clean_lines(text))


class ConfigError(MotleyError):
    """cluster.toml can't be used. `problems` holds one line each: where, what, how to mend."""

    exit_code = 2

    def __init__(self, path: str, problems: Sequence[str]) -> None:
        self.path = path
        self.problems = tuple(problems)
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        super().__init__("\n".join([f"{path}: {count}", *(f"  {p}" for p in self.problems)]))


class NoConfig(ConfigError):
    """There is no cluster.toml where one was looked for: `text` is for somebody who has none yet."""

    def __init__(self, path: str, text: str) -> None:
        super().__init__(path, [text.partition("\n")[0]])
        self.args = (text,)


class UsageError(MotleyError):
    exit_code = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """A host key that nobody knows yet: `remote.ssh.new_host_keys` has the user asked whether it is right."""

    host: str  # in cluster.toml; the key may be that of a jump host on the way there
    name: str  # as known_hosts lists it
    fingerprint: str
    line: str  # of known_hosts


class HostError(MotleyError):
    """One host, the cause, and the remedy: a command to paste where there is one."""

    exit_code = 3
    check = "connect"

    def __init__(self, host: str, cause: str, remedy: str, new_key: NewKey | None = None) -> None:
        self.host = host
        self.cause = clean_lines(cause)
        self.remedy = clean_lines(remedy)
        self.new_key = new_key
        super().__init__(f"{host}: {self.cause}. {self.remedy}")


class Unreachable(HostError):
    check = "reachable"


class HostKeyUnknown(HostError):
    check = "host_key"


class HostKeyChanged(HostError):
    check = "host_key"


class AuthenticationFailed(HostError):
    check = "authentication"


class NoPasswords(AuthenticationFailed):
    pass


class CommandFailed(HostError):
    check = "command"


class StartRefused(CommandFailed):
    pass


class NoShell(CommandFailed):
    check = "shell"


class WrongSystem(CommandFailed):
    check = "system"


@dataclass(frozen=True, slots=True)
class Finding:
    """One result of the preflight that is not in order. `new_key`: what would mend it, if the user says so."""

    host: str
    check: str
    level: Literal["error", "warning"]
    cause: str
    remedy: str
    new_key: NewKey | None = None

    def __post_init__(self) -> None:
        for name in ("host", "cause", "remedy"):
            object.__setattr__(self, name, clean_lines(getattr(self, name)))

    def as_dict(self) -> dict[str, str]:
        """As `--json` prints it."""
        return {name: str(getattr(self, name)) for name in ("host", "check", "level", "cause", "remedy")}


def together(findings: Iterable[Finding]) -> list[tuple[str, str, str]]:
    """Hosts, cause and remedy: what is the same on several hosts is said once, where the first of them stands.

    >>> together(Finding(box, "torch", "error", "no torch", "…") for box in ("box1", "box2"))
    [('box1, box2', 'no torch', '…')]
    """
    hosts: dict[tuple[str, str], list[str]] = {}
    for finding in findings:
        hosts.setdefault((finding.cause, finding.remedy), []).append(finding.host)
    return [(", ".join(dict.fromkeys(names)), cause, remedy) for (cause, remedy), names in hosts.items()]


class CheckFailed(MotleyError):
    exit_code = 3

    def __init__(self, findings: Sequence[Finding]) -> None:
        self.findings = tuple(findings)
        errors = together(f for f in self.findings if f.level == "error")
        super().__init__("\n".join(f"{hosts}: {cause}\n  {remedy}" for hosts, cause, remedy in errors))


class RunFailed(MotleyError):
    exit_code = 1


class NotWritten(MotleyError):
    exit_code = 1
