"""Profiles on the master: what `motley profile` measured becomes files, and the files become what a run starts from.

    >>> store = store_of(cluster)
    >>> for profile in profiles_of(cluster, calibrated, time.time()):
    ...     store.write(profile)
    >>> Session(cluster, run, emit=emit, knows=knows(cluster, store))

Kept under `~/.motley/profiles/<cluster>/`: they describe machines, so they outlive runs and experiment folders.
"""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from motley.profiles.catalog import guess
from motley.profiles.store import Conditions, LinkSpeed, Profile, Store, ThreadRate, Timing
from motley.remote.config.cluster import Cluster, Host
from motley.trainer.contract.spec import RunOptions
from motley.trainer.contract.task_name import IMAGE_FOLDER
from motley.trainer.devices.names import cards_of, is_gpu, numbered

if TYPE_CHECKING:  # what connects to hosts is imported when it is needed
    from motley.remote.launch.calibrate import Calibrated, Measured
    from motley.remote.launch.placement import Knows
    from motley.remote.preflight.probe import Probe


def store_of(cluster: Cluster) -> Store:
    return Store(Path("~/.motley/profiles").expanduser() / cluster.name)


def task_key(cluster: Cluster) -> str:
    """What is measured, as profiles are kept by it: for a task of the user's own, its parameters too, the size of
    pictures that have none of their own, and for a script what it is called with.

    >>> task_key(cluster)
    'night.py {"width": 64}'
    """
    if cluster.run.program is not None:
        return " ".join(filter(None, [cluster.run.program, shlex.join(cluster.run.args)]))
    size = [f"{cluster.data.image_size} px"] if cluster.dataset == IMAGE_FOLDER else []
    parameters = [json.dumps(cluster.task, sort_keys=True)] if cluster.task else []
    return " ".join([cluster.run.task, *size, *parameters])


def computed(run: RunOptions) -> str:
    """How forward and backward passes are computed, in words.

    >>> computed(RunOptions(precision="bf16", compile=True))
    'bf16, compiled'
    """
    how = {"compiled": run.compile, "activation checkpointing": run.activation_checkpointing}
    return ", ".join([run.precision, *(word for word, chosen in how.items() if chosen)])


def conditions(cluster: Cluster, host: Host, probe: Probe | None = None) -> Conditions:
    """What a measurement of this host depends on, as cluster.toml and the host's own answer say."""
    return Conditions(
        task=task_key(cluster),
        norm=cluster.run.norm,
        optimizer=cluster.run.optimizer,
        computed=computed(cluster.run),
        threads=cluster.run.threads,
        speed=host.speed,
        torch=probe.torch if probe else None,
        machine=probe.hostname if probe else None,
    )


def profiles_of(cluster: Cluster, calibrated: Calibrated, now: float) -> list[Profile]:
    """One for every device that was measured. Raises ValueError for figures that make no sense."""
    hosts = {host.name: host for host in cluster.hosts}
    ranks = Counter((m.member.host, is_gpu(m.member.device)) for m in calibrated.measured)
    return [
        _profile(
            conditions(cluster, hosts[m.member.host], m.probe), m, now,
            free_mib=free_mib(m.member.device, m.probe, ranks=ranks[m.member.host, False]),
            cards_mib=cards_mib(m.member.device, m.probe),
        )
        for m in calibrated.measured
    ]  # fmt: skip


def free_mib(device: str, probe: Probe, *, ranks: int) -> int | None:
    """Of a GPU's memory, or of all of the rank's together; on a CPU of the host's, an equal part for each of its
    `ranks`; None where not known."""
    if not is_gpu(device):
        return probe.memory_available_mib // max(1, ranks) if probe.memory_available_mib else None
    known = [_card_mib(card, probe) for card in cards_of(device)]
    return None if None in known else sum(mib or 0 for mib in known)


def cards_mib(device: str, probe: Probe) -> tuple[int, ...]:
    """The same of each card, where a rank has several and all are known; else none."""
    known = [_card_mib(card, probe) for card in cards_of(device)]
    return tuple(mib for mib in known if mib) if len(known) > 1 and all(known) else ()


def _card_mib(card: str, probe: Probe) -> int | None:
    cards = {numbered(gpu.index): gpu.free_mib or gpu.total_mib for gpu in probe.gpus}
    return cards.get(card) or next((one.total_mib for one in probe.accelerators if one.device == card), None)


def knows(cluster: Cluster, store: Store) -> Knows:
    """What to tell a run of a device before it has measured it: its profile's figures, else a guess from its name."""

    from motley.remote.launch.placement import Pace

    def pace(host: Host, device: str, probe: Probe) -> Pace:
        if cluster.run.program is not None and not cluster.session:
            return Pace(relative_speed=relative_speed(host, device, probe))
        profile = store.find(host.name, device, conditions(cluster, host, probe)).profile
        if profile is not None:
            line, link = profile.step_line, profile.link
            return Pace(
                a_ms=line.a,
                c_ms=line.c,
                pass_limit=profile.max_batch,
                threads=profile.threads if profile.thread_rates else None,
                link_mbit=link.mbit if link else None,
                link_latency_ms=link.latency_ms if link else None,
            )
        return Pace(relative_speed=relative_speed(host, device, probe))

    return pace


def only_words(cluster: Cluster, names: Collection[str]) -> list[str]:
    """The `--only` options that measure these hosts: the leader has to be there, since links are measured to it."""
    asked = [host.name for host in cluster.hosts if host.name in names or host.name == cluster.leader]
    return [] if len(asked) == len(cluster.hosts) else [word for name in asked for word in ("--only", name)]


def relative_speed(host: Host, device: str, probe: Probe) -> float | None:
    """Of a device, from the catalogue; None for one that is not in it, and for demo hosts, which start alike."""
    if host.way.emulated:
        return None
    if is_gpu(device):
        return _speed_of_cards([probe.names_of_gpus.get(card, "") for card in cards_of(device)])
    found = guess(probe.cpu_model, float(probe.cores))
    return None if found is None else found.relative_speed


def _speed_of_cards(names: Sequence[str]) -> float | None:
    """Of a rank. Where it has several cards one computes after another: each is taken to have as much of the work."""
    found = [guess(name, None) for name in names]
    speeds = [one.relative_speed for one in found if one is not None]
    return len(speeds) / sum(1 / speed for speed in speeds) if len(speeds) == len(names) else None


def _profile(
    conditions: Conditions, measured: Measured, now: float, *, free_mib: int | None, cards_mib: tuple[int, ...]
) -> Profile:
    result, link = measured.result, measured.link
    timings = [Timing(**row) for row in result["timings"]]
    return Profile(
        host=measured.member.host,
        device=measured.member.device,
        device_name=str(result["device_name"]),
        conditions=conditions,
        timings=tuple(timings),
        parameters=int(result["parameters"]),
        gradient_bytes=int(result["gradient_bytes"]),
        max_batch=result["max_batch"],
        sample_mib=result["sample_mib"],
        link=None if link is None else LinkSpeed(mbit=link["mbit"], latency_ms=link["latency_ms"]),
        time=now,
        threads=result["threads"],
        thread_rates=tuple(ThreadRate(**row) for row in result["thread_rates"]),
        global_batch=result["global_batch"],
        free_mib=free_mib,
        cards_mib=cards_mib,
        fits_at_least=result.get("fits_at_least"),
    )
