"""What one host says of itself before anything is sent to it: one command, one answer.

`remote.check` asks all hosts at once and judges the answers; `remote.run` uses them to push, place ranks and choose
addresses.

    >>> found = await probe(connection, "python3", leader_address="192.168.0.7")
    >>> found.torch, found.interface
    ('2.13.0+cpu', 'eth0')
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from remote.bootstrap_call import call
from remote.connection import Connection
from remote.errors import CommandFailed
from remote.sanitize import clean

PROBE_S = 8.0
SELF = "self"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    index: int
    name: str
    total_mib: int | None  # None when only the driver's files could be read
    free_mib: int | None
    driver: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """The answer of `remote.bootstrap`. Texts are empty where there is nothing."""

    python: str  # version
    executable: str
    hostname: str
    system: str  # "Linux"
    machine: str  # "x86_64"
    home: str
    boot_id: str
    clock: float  # seconds since 1970
    torch: str
    torch_cuda: str
    gpus: tuple[Gpu, ...]
    cpu_model: str
    cores: int  # that the user's processes may use
    memory_mib: int
    disk_free_mib: int  # where the home folder is
    unwritable: str  # why ~/.motley can't be written
    server_address: str  # the address that our connection reached
    address: str  # of this host on the way to the leader
    interface: str  # that has this address
    code: tuple[str, ...]  # hashes of the trees it has


async def probe(connection: Connection, python: str, leader_address: str = "") -> Probe:
    """`leader_address`: numeric, or `SELF` for the leader; without it `address` and `interface` stay empty.

    Raises CommandFailed when the Python is missing, broken or older than 3.8, Unreachable when the connection breaks.
    """
    answer = await call(connection, python, ["probe", leader_address], timeout_s=PROBE_S)
    if set(answer) == {"python"}:
        raise CommandFailed(connection.host.name, *too_old(python, clean(str(answer["python"]))))
    try:
        return parse(answer)
    except ValueError as error:
        cause = f"{python} answered the probe with {error}"
        raise CommandFailed(connection.host.name, cause, "Report this, with the version of that Python.") from error


def too_old(python: str, version: str) -> tuple[str, str]:
    """Cause and remedy."""
    remedy = "Name a newer one as python in cluster.toml, such as ~/venv/bin/python."
    return f"{python} is Python {version}; Motley needs 3.10 or newer", remedy


def parse(answer: dict[str, Any]) -> Probe:
    """Raises ValueError that names the field that is missing or of another type."""
    values = _fields(Probe, {**answer, "gpus": (), "code": ()}, "")
    gpus, code = answer.get("gpus"), answer.get("code")
    if not isinstance(gpus, list) or not all(isinstance(gpu, dict) for gpu in gpus):
        raise ValueError("gpus that are no list of tables")
    if not isinstance(code, list) or not all(isinstance(name, str) for name in code):
        raise ValueError("code that is no list of names")
    values["gpus"] = tuple(Gpu(**_fields(Gpu, gpu, "gpus.")) for gpu in gpus)
    values["code"] = tuple(code)
    return Probe(**values)


_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "int | None": (int, type(None)),
}


def _fields(kind: type[Any], table: dict[str, Any], prefix: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        if field.name not in table:
            raise ValueError(f"no {prefix}{field.name}")
        value = table[field.name]
        expected = _TYPES.get(str(field.type), (tuple,))
        if not isinstance(value, expected) or isinstance(value, bool):
            raise ValueError(f"{prefix}{field.name} of type {type(value).__name__}")
        values[field.name] = clean(value) if isinstance(value, str) else value
    return values
