"""Whether a host has the libraries that `task = "causal_lm"` needs: pure. `remote.preflight.judge` calls it.

Their versions are read from what pip has installed there (`trainer.bootstrap.python_and_torch`): importing them takes
longer than the whole check. A host whose environment is still to be made is not judged by what it has now.

    >>> list(language_models(cluster, host, probe))
    [Finding(host='box1', check='libraries', level='error', cause='python3 (Python 3.12.3) has no peft', …)]
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from motley.remote.config.cluster import Cluster, Host
from motley.remote.errors import Finding
from motley.remote.hosts.pool import python_of
from motley.remote.preflight.probe import Probe
from motley.remote.quoting import pasteable
from motley.remote.ssh.shell import there

OLDEST = {"transformers": "5", "peft": "0.18", "bitsandbytes": "0.50", "datasets": "3"}  # as in pyproject.toml
BROUGHT_BY = {"pyarrow": "datasets"}  # which reads parquet, with a version of its own choice
IN_ENVIRONMENT = 'packages = "llm" under [environment] of cluster.toml'


def needs(cluster: Cluster) -> tuple[str, ...]:
    """The packages that the run needs, with all keys of `[task]` as they are; none for another task."""
    if not cluster.is_language_model:
        return ()
    task = cluster.task
    method, optimizer = str(task.get("method", "lora")), str(task.get("optimizer", "adamw"))
    files = [str(task.get(key, "")) for key in ("train", "test")]
    wanted = {
        "transformers": True,
        "peft": method != "full",
        "bitsandbytes": method == "qlora" or "8bit" in optimizer,
        "pyarrow": any(file.endswith(".parquet") for file in files),
    }
    return tuple(name for name, needed in wanted.items() if needed)


def language_models(cluster: Cluster, host: Host, probe: Probe) -> Iterator[Finding]:
    """One finding that names all that the host lacks."""
    there_are = {library.name: library.version for library in probe.libraries}
    wrong = {name: problem for name in needs(cluster) if (problem := _problem(name, there_are.get(name, "")))}
    if not wrong:
        return
    who = "python3 in its image" if host.runtime is not None else f"{python_of(host)} (Python {probe.python})"
    cause = f"{who} has {' and '.join(wrong.values())}, which {'are' if len(wrong) > 1 else 'is'} needed for language "
    yield Finding(host.name, "libraries", "error", f"{cause}models", _remedy(host, probe, list(wrong)))


def _problem(name: str, version: str) -> str:
    """Empty where it is new enough."""
    if not version:
        return f"no {name}"
    if name in OLDEST and _numbers(version) < _numbers(OLDEST[name]):
        return f"{name} {version}, older than {OLDEST[name]}"
    return ""


def _remedy(host: Host, probe: Probe, names: list[str]) -> str:
    packages = [BROUGHT_BY.get(name, name) for name in names]
    wanted = [f"{package}>={OLDEST[package]}" for package in packages]
    if host.installs and host.packages:
        if host.requirements:
            file = Path(host.requirements).name
            return f"{file} takes the place of the list's versions: take {' and '.join(packages)} out of it."
        return "Its image was built without packages.txt: see the Dockerfile of Motley in docs/environment.md."
    if host.runtime is not None:
        build = f'have one built that has them: dockerfile = "Dockerfile" and {IN_ENVIRONMENT}'
        return f"Take an image that has them, or {build}; docs/environment.md shows how."
    install = pasteable([probe.executable, "-m", "pip", "install", *wanted])
    remedy = f"Write {IN_ENVIRONMENT}, and every host gets them; or install them: {there(host, install)}"
    return f"{remedy}; or add them to {Path(host.requirements).name}" if host.requirements else remedy


def _numbers(version: str) -> tuple[int, ...]:
    """Those at its start: "5.0.0rc1" is (5, 0, 0)."""
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:3])
