"""cluster.toml -> `Cluster`: the hosts and options of a run, checked as a whole.

The console loads it before anything else; every problem in the file is in the one `ConfigError` raised.

    >>> cluster = load(Path("cluster.toml"), overrides=["run.global_batch=512"], only=["desktop", "laptop"])
    >>> [host.name for host in cluster.hosts], cluster.run.global_batch
    (['desktop', 'laptop'], 512)
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from motley.remote.config import value_rules
from motley.remote.config.check_data import check_data
from motley.remote.config.check_script import calls_session, check_script, unheeded
from motley.remote.config.check_task import MAX_DEPTH, check_cards, check_task, read_parameters
from motley.remote.config.check_training import check_training
from motley.remote.config.cluster import Cluster, Host
from motley.remote.config.command_line import check_run_name, new_run_name
from motley.remote.config.console_sections.slurm import SlurmKeys
from motley.remote.config.console_sections.track import TrackKeys
from motley.remote.config.first_file import absent
from motley.remote.config.overrides import apply_overrides
from motley.remote.config.problems import Problems, host_names
from motley.remote.config.read_hosts import check_nodes, read_hosts, read_section
from motley.remote.config.schema import nearest, shown, unknown
from motley.remote.config.sections import SECTIONS, ClusterKeys, KubernetesKeys
from motley.remote.config.slurm_classes import numbered, slurm_options
from motley.remote.config.toml_lines import key_lines
from motley.remote.config.ways import Connect
from motley.remote.errors import ConfigError, NoConfig
from motley.remote.sanitize import clean
from motley.trainer.contract import policy_name
from motley.trainer.contract.spec import BalanceOptions, DataOptions, ElasticOptions, RunOptions
from motley.trainer.contract.task_name import included

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["Cluster", "Host", "check_run_name", "load", "new_run_name"]

MAX_BYTES = 1 << 20  # of a cluster.toml; anything larger is another file given by mistake
EXPORT = "export kubernetes"  # the verb for which hosts are classes of machines
_TOO_DEEP = f"is nested too deeply to be read; {MAX_DEPTH} tables and lists in each other are the most"


def load(path: Path, overrides: Sequence[str] = (), only: Sequence[str] = (), *, verb: str = "run") -> Cluster:
    """Reads and checks `path`. `overrides` are `--set` texts (`run.epochs=3`), `only` the names of hosts to keep,
    `verb` the command that commands to paste repeat.

    Raises `ConfigError` with all problems at once.
    """
    text = _read(path)
    table = _parse(path, text)
    problems = Problems(key_lines(text), path.name)
    apply_overrides(table, overrides, problems)
    for section in table:
        if section not in SECTIONS:
            problems.add((section,), unknown(section, list(SECTIONS)))

    keys = read_section(ClusterKeys, table.get("cluster", {}), ("cluster",), problems)
    options = {
        name: read_section(SECTIONS[name], table.get(name, {}), (name,), problems)
        for name in ("run", "balance", "elastic", "data", "kubernetes", "track")
    }
    connect: Connect = keys.get("connect", "ssh")
    hosts = read_hosts(table, connect, path.parent, problems)
    if verb != EXPORT:
        check_nodes(hosts, problems)
    slurm = read_section(SlurmKeys, table.get("slurm", {}), ("slurm",), problems)
    kept = _keep(hosts, only, problems)
    leader = keys.get("leader")
    names = [host.name for host in hosts] or [str(name) for name in host_names(table) if name]
    if leader is not None and names and leader not in (*names, *(host.pod.of for host in hosts if host.pod)):
        problems.add(("cluster", "leader"), f"there is no host {leader}; {nearest(leader, names)}")

    leads = _leader(leader, kept)
    run = _run_options(options["run"])
    session = calls_session(run, path.parent)
    cluster = Cluster(
        name=keys.get("name", value_rules.valid_name(path.absolute().parent.name)),
        leader=leads,
        port=keys.get("port", ClusterKeys().port),
        connect=connect,
        hosts=numbered(kept, leads),
        run=run,
        balance=BalanceOptions(**options["balance"]),
        elastic=ElasticOptions(**options["elastic"]),
        data=DataOptions(**options["data"]),
        path=path,
        text=text + _changes(overrides, only),
        task=read_parameters(table, problems),
        unheeded=unheeded(table, session=session) if run.program is not None else (),
        session=session,
        slurm=slurm_options(slurm, table, hosts, path.parent, problems, program=run.program),
        verb=verb,
        words=_words(path, overrides, only),
        kubernetes=KubernetesKeys(**options["kubernetes"]),
        track=TrackKeys(**options["track"]),
    )
    _check_run(cluster, table, problems)
    check_data(cluster, table, problems)
    _check_shares(cluster, problems)
    if kept and cluster.elastic.min_hosts > len(kept):
        problems.add(
            ("elastic", "min_hosts"), f"is {cluster.elastic.min_hosts}, which is more than the run's {len(kept)}"
        )
    if problems:
        raise ConfigError(str(path), problems.lines(table))
    return cluster


def _run_options(given: dict[str, Any]) -> RunOptions:
    """What is given, then what the task brings, then the defaults of all tasks."""
    run = RunOptions(**given)
    ours = included(run.task) if run.program is None else None
    return run if ours is None else RunOptions(**{**ours.run, **given})


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        if path == Path("cluster.toml"):
            raise NoConfig(str(path), absent(Path.cwd())) from None
        _refuse(path, "there is no such file; name one with -c FILE, or write one: docs/cluster-toml.md shows how")
    except IsADirectoryError:
        _refuse(path, f"is a folder; name the file in it, such as {path.name}/cluster.toml")
    except OSError as error:
        _refuse(path, f"can't be read: {error.strerror}")
    if len(content) > MAX_BYTES:
        _refuse(path, "is larger than 1 MiB; is it a cluster.toml?")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        _refuse(path, f"byte {content[error.start]:#04x} is not UTF-8; save the file as UTF-8 text", line)


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message, line, column = _syntax_error(str(error), text)
        source = text.splitlines()[line - 1 : line] or [""]
        hint = "; text is written in quotes" if message == "Invalid value" else ""
        _refuse(path, f"column {column}: {message}{hint}: {source[0].strip()}", line)
    except RecursionError:
        _refuse(path, _TOO_DEEP)
    except ValueError as error:  # a number with thousands of digits
        _refuse(path, f"can't be read: {error}")
    if _is_deep(table):
        _refuse(path, _TOO_DEEP)
    return table


def _is_deep(table: dict[str, Any]) -> bool:
    """Whether it is nested deeper than that: what checks it may go through it by recursion."""
    level: list[Any] = [table]
    for _ in range(MAX_DEPTH):
        inner = (value.values() if isinstance(value, dict) else value for value in level)
        level = [item for items in inner for item in items if isinstance(item, (dict, list))]
    return bool(level)


def _syntax_error(message: str, text: str) -> tuple[str, int, int]:
    """The parser's message without its place, and the place: line and column, both from 1."""
    place = re.search(r" \(at line (\d+), column (\d+)\)$", message)
    if place:
        return message[: place.start()], int(place.group(1)), int(place.group(2))
    lines = text.split("\n")
    return message.removesuffix(" (at end of document)"), len(lines), len(lines[-1]) + 1


def _refuse(path: Path, text: str, line: int | None = None) -> NoReturn:
    where = path.name if line is None else f"{path.name}:{line}"
    raise ConfigError(str(path), [clean(f"{where}: {text}")]) from None


def _keep(hosts: tuple[Host, ...], only: Sequence[str], problems: Problems) -> tuple[Host, ...]:
    names = [host.name for host in hosts]
    for name in only:
        if hosts and name not in (*names, *map(_class, hosts)):
            problems.add_option(f"--only {name}", f"there is no such host; {nearest(name, names)}")
    return tuple(host for host in hosts if host.name in only or _class(host) in only) if only else hosts


def _class(host: Host) -> str:
    about = host.slurm or host.pod
    return about.of if about is not None else ""


def _leader(wanted: str | None, hosts: Sequence[Host]) -> str:
    """The first host stands in for a leader that `only` leaves out, the first pod of a class for that. No hosts: a
    problem, said elsewhere."""
    names = [host.name for host in hosts]
    mine = [host.name for host in hosts if host.pod is not None and host.pod.of == wanted]
    return wanted if wanted in names else next(iter((*mine, *names)), "")


def _check_run(cluster: Cluster, table: dict[str, Any], problems: Problems) -> None:
    section = table.get("run")
    if isinstance(section, dict) and "epochs" in section and "steps" in section:
        problems.add(("run", "steps"), "epochs is given too; keep one of them")
    check_script(cluster.run, cluster.port, table, problems)
    own = cluster.own_policy
    check_task(cluster.run, table, problems, own_policy=own is not None)
    if own is None and policy_name.parse(cluster.balance.policy) is not None:
        text = "a policy of your own is for a task, or for a script that calls motley.session(); "
        text += f"{cluster.run.program} does not, and shares out its work itself: leave the key out"
        problems.add(("balance", "policy"), text)
    elif own is not None and own.file and (problem := value_rules.path_problem(own.file)):
        problems.add(("balance", "policy"), f"{shown(own.file)} {problem}")
    check_cards(cluster, table, problems)
    check_training(cluster.run, problems)


def _check_shares(cluster: Cluster, problems: Problems) -> None:
    """Shares must make up the global batch, under a policy that heeds them. The default, none at all, is in order."""
    shares, batch = cluster.balance.shares, cluster.run.global_batch
    if not shares or problems.touches(("balance", "shares")) or cluster.run.program is not None:
        return
    path = ("balance", "shares")
    if cluster.balance.policy != "static" and not problems.touches(("balance", "policy")):
        problems.add(path, f'are for policy = "static"; {cluster.balance.policy} finds its own')
    if min(shares) < 0:
        problems.add((*path, shares.index(min(shares))), f"must be at least 0, is {min(shares)}")
    elif sum(shares) != batch and not problems.touches(("run", "global_batch")):
        problems.add(path, f"add up to {sum(shares)}; they must make up run.global_batch, {batch}")
    devices = [host.devices for host in cluster.hosts]
    ranks = sum(map(len, devices))
    if "auto" not in devices and ranks != len(shares) and not problems.touches(("hosts",), ("defaults",)):
        problems.add(path, f"are {len(shares)}, but the hosts have {ranks} devices; give one for each")


def _words(path: Path, overrides: Sequence[str], only: Sequence[str]) -> tuple[str, ...]:
    """What has `motley run` load the same again, to be told: a learning rate is another one then, and what may be a
    secret is not told."""
    told = [text for text in overrides if not text.startswith("run.learning_rate") and ".env" not in text]
    file = [] if path == Path("cluster.toml") else ["-c", str(path)]
    return (*file, *(w for text in told for w in ("--set", text)), *(w for name in only for w in ("--only", name)))


def _changes(overrides: Sequence[str], only: Sequence[str]) -> str:
    given = [f"--set {text}" for text in overrides] + [f"--only {name}" for name in only]
    if not given:
        return ""
    return "\n".join(["", "", "# Changed on the command line:", *(f"# {clean(text)}" for text in given), ""])
