"""`motley profile` from cluster.toml to its exit code: measures, prints, and says what is kept when it is broken off.

code = profile(cluster, json=False)
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from motley.console.commands.json_output import print_data
from motley.console.commands.plain import Printer
from motley.console.commands.stored_profiles import only_words, profiles_of, store_of
from motley.console.control.session_protocol import Emit
from motley.console.view.answer_tables import profiles_text
from motley.profiles.store import Profile
from motley.remote.config.cluster import Cluster
from motley.remote.errors import CheckFailed, Finding
from motley.remote.provision.push_code import Tree
from motley.remote.ssh.shell import motley


def profile(cluster: Cluster, *, json: bool, tree: Tree | None = None) -> int:
    """Raises CheckFailed when the cluster is not in order; with `json` its findings are on stdout all the same."""
    kept: list[Profile] = []
    try:
        profiles, findings = asyncio.run(measure(cluster, Printer(), kept.append, tree))
    except CheckFailed as error:
        if json:
            _print(kept, error.findings, json=True)
        raise
    except KeyboardInterrupt:
        _print(kept, (), json=json)
        print(f"motley: {broken_off(cluster, kept)}", file=sys.stderr)
        return 1
    _print(profiles, findings, json=json)
    for finding in findings:
        sign = "✖" if finding.level == "error" else "!"
        print(f"{sign} {finding.host}: {finding.cause}\n    {finding.remedy}", file=sys.stderr)
    return int(any(finding.level == "error" for finding in findings))


def broken_off(cluster: Cluster, kept: Sequence[Profile]) -> str:
    """What to say after Ctrl-C: what is measured and kept, and the command that measures the others."""
    measured = list(dict.fromkeys(profile.host for profile in kept))
    others = [host.name for host in cluster.hosts if host.name not in measured]
    if not measured:
        return "interrupted: no host was measured yet"
    if not others:
        return "interrupted: every host is measured and kept; the network, or the short run of all together, is missing"
    return (
        f"interrupted: {len(measured)} of {len(cluster.hosts)} hosts measured and kept ({', '.join(measured)}). "
        f"To measure the rest: {motley(cluster, 'profile', *only_words(cluster, others))}"
    )


def _print(profiles: Sequence[Profile], findings: Sequence[Finding], *, json: bool) -> None:
    if json:
        print_data({"profiles": [p.as_dict() for p in profiles], "findings": [f.as_dict() for f in findings]})
    elif profiles:
        print(profiles_text(profiles))


async def measure(
    cluster: Cluster, emit: Emit, keep: Callable[[Profile], None] = lambda _: None, tree: Tree | None = None
) -> tuple[list[Profile], tuple[Finding, ...]]:
    """Calibrate every device, then rehearse with all; keep what was found.

    Each device's profile is written, and `keep` is given it, as soon as it is measured: with the link that an earlier
    profile knew, until that is measured anew. So nothing that was measured is lost when the rest is broken off.
    Raises CheckFailed when the cluster is not in order.
    """
    from motley.console.commands.profile_together import rehearse
    from motley.remote.hosts.pool import Hosts
    from motley.remote.launch.calibrate import Calibrated, Measured, calibrate
    from motley.remote.launch.prepare_hosts import lent_for

    store = store_of(cluster)

    def measured(found: Measured) -> None:
        (profile,) = profiles_of(cluster, Calibrated(measured=(found,), findings=()), time.time())
        before = store.find(profile.host, profile.device, profile.conditions).profile
        profile = replace(profile, link=before.link if before else None)
        store.write(profile)
        keep(profile)

    async with lent_for("profile", cluster, emit) as there, Hosts(there) as hosts:
        calibrated = await calibrate(hosts, emit, tree, keep=measured)
    profiles = profiles_of(cluster, calibrated, time.time())
    for profile in profiles:
        store.write(profile)
    rehearsal = await rehearse(cluster, profiles, emit)
    if isinstance(rehearsal, Finding):
        return profiles, (*calibrated.findings, rehearsal)
    if rehearsal is not None:
        rehearsal.write(store.folder)
    return profiles, calibrated.findings
