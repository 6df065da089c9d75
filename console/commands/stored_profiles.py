"""Profiles on the master: what `motley profile` measured becomes files, and the files become what a run starts from.

    >>> store = store_of(cluster)
    >>> for profile in profiles_of(cluster, calibrated, time.time()):
    ...     store.write(profile)
    >>> Session(cluster, run, emit=emit, knows=knows(cluster, store))

Kept under `~/.motley/profiles/<cluster>/`: they describe machines, so they outlive runs and experiment folders.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from console.session import Emit
from profiles.catalog import guess
from profiles.store import Conditions, LinkSpeed, Profile, Store, Timing
from remote.cluster import Cluster, Host
from remote.errors import Finding

if TYPE_CHECKING:  # what connects to hosts is imported when it is needed
    from remote.calibrate import Calibrated, Measured
    from remote.placement import Knows
    from remote.probe import Probe


def store_of(cluster: Cluster) -> Store:
    return Store(Path("~/.motley/profiles").expanduser() / cluster.name)


def conditions(cluster: Cluster, host: Host, probe: Probe | None = None) -> Conditions:
    """What a measurement of this host depends on, as cluster.toml and the host's own answer say."""
    return Conditions(
        task=cluster.run.task,
        norm=cluster.run.norm,
        optimizer=cluster.run.optimizer,
        threads=cluster.run.threads,
        speed=host.speed,
        torch=probe.torch if probe else None,
        machine=probe.hostname if probe else None,
    )


def profiles_of(cluster: Cluster, calibrated: Calibrated, now: float) -> list[Profile]:
    """One for every device that was measured. Raises ValueError for figures that make no sense."""
    hosts = {host.name: host for host in cluster.hosts}
    return [_profile(conditions(cluster, hosts[m.member.host], m.probe), m, now) for m in calibrated.measured]


def knows(cluster: Cluster, store: Store) -> Knows:
    """What to tell a run of a device before it has measured it: its profile's figures, else a guess from its name."""

    from remote.placement import Pace

    def pace(host: Host, device: str, probe: Probe) -> Pace:
        profile = store.find(host.name, device, conditions(cluster, host, probe)).profile
        if profile is not None:
            line, link = profile.step_line, profile.link
            return Pace(
                a_ms=line.a,
                c_ms=line.c,
                pass_limit=profile.max_batch,
                link_mbit=link.mbit if link else None,
                link_latency_ms=link.latency_ms if link else None,
            )
        return Pace(relative_speed=relative_speed(host, device, probe))

    return pace


async def measure(cluster: Cluster, emit: Emit) -> tuple[list[Profile], tuple[Finding, ...]]:
    """Calibrate every device, then rehearse with all; keep what was found.

    Raises CheckFailed when the cluster is not in order.
    """
    from console.rehearsing import rehearse
    from remote.calibrate import calibrate
    from remote.hosts import Hosts

    async with Hosts(cluster) as hosts:
        calibrated = await calibrate(hosts, emit)
    profiles = profiles_of(cluster, calibrated, time.time())
    store = store_of(cluster)
    for profile in profiles:
        store.write(profile)
    rehearsal = await rehearse(cluster, profiles, emit)
    if isinstance(rehearsal, Finding):
        return profiles, (*calibrated.findings, rehearsal)
    if rehearsal is not None:
        rehearsal.write(store.folder)
    return profiles, calibrated.findings


def relative_speed(host: Host, device: str, probe: Probe) -> float | None:
    """Of a device, from the catalogue; None for one that is not in it."""
    if device.startswith("cuda"):
        index = int(device.partition(":")[2] or 0)
        found = next((guess(gpu.name, None) for gpu in probe.gpus if gpu.index == index), None)
    else:
        found = guess(probe.cpu_model, float(probe.cores))
    return None if found is None else found.relative_speed * (host.speed or 1.0)


def _profile(conditions: Conditions, measured: Measured, now: float) -> Profile:
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
    )
