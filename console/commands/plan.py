"""`motley plan`: from stored profiles to options and advice. Connects to no host.

>>> plan = planned(cluster, store_of(cluster))
>>> plan.advice
('take all 4 hosts: 1,560 samples/s, 2.0 times the fastest alone (box1, 790)',)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import median
from typing import Any

from rich.cells import cell_len

from motley.console.commands.json_output import print_data
from motley.console.commands.language_model_plan import what_fits
from motley.console.commands.stored_profiles import conditions, only_words, store_of, task_key
from motley.console.view.styled_line import fit
from motley.profiles.plan import WORTH_COMPRESSING, Option, Plan, make_plan
from motley.profiles.predict import Candidate, Together
from motley.profiles.rehearsal import Rehearsal
from motley.profiles.split_solver import SplitError
from motley.profiles.store import LinkSpeed, Profile, Store, differences
from motley.remote.config.cluster import Cluster, Host
from motley.remote.errors import UsageError
from motley.remote.ssh.shell import motley

GIGABIT = LinkSpeed(mbit=940.0, latency_ms=0.2)
LARGER = 2  # options shown of each larger batch


def plan(cluster: Cluster, *, json: bool) -> int:
    found = planned(cluster, store_of(cluster))
    if json:
        print_data(plan_data(found))
    else:
        print(plan_text(found, found.take.global_batch))
    return 0


def planned(cluster: Cluster, store: Store) -> Plan:
    """The plan for the hosts that have a profile; others are named in its advice.

    Raises UsageError when there is no profile, or no subset of the hosts has room for the global batch.
    """
    profiles, lacking = _profiles(cluster, store)
    if not profiles:
        raise UsageError(f"no profile to plan with for the task '{task_key(cluster)}': {'; '.join(lacking)}")
    candidates, unknown = candidates_of(cluster, profiles)
    batch = next((p.global_batch for p in profiles if p.global_batch), cluster.run.global_batch)
    try:
        rehearsal = Rehearsal.read(store.folder, task_key(cluster))
        together = rehearsal.together(candidates) if rehearsal else Together()
        gradient_bytes = max(p.gradient_bytes for p in profiles)
        plan = make_plan(candidates, batch, gradient_bytes, together, loop=cluster.run.program is not None)
    except SplitError as error:
        where = "global_batch" if cluster.run.program is not None else "run.global_batch"
        raise UsageError(f"{where} = {batch} can't be shared out: {error}") from error
    if sum(host.way.emulated for host in cluster.hosts) > 1:
        unknown.append("demo hosts share this machine's cores, so together they are slower than predicted")
    if cluster.own_policy is not None:
        unknown.append(f"{cluster.balance.policy} runs on hosts only: here the split is the one that dynamic finds")
    fits = what_fits(cluster, profiles)
    return Plan(options=plan.options, take=plan.take, advice=(*plan.advice, *fits, *lacking, *unknown))


def candidates_of(cluster: Cluster, profiles: Sequence[Profile]) -> tuple[list[Candidate], list[str]]:
    """The devices as the planner takes them, and a word on what had to be assumed."""
    links, unknown = _links(cluster, profiles)
    caps = {host.name: host.max_batch for host in cluster.hosts}
    candidates = [
        Candidate(
            host=p.host, device=p.device, line=p.line, step_line=p.step_line, link=links[p.host], cap=caps[p.host],
            pass_limit=p.max_batch or p.fits_at_least,  # no more than is known to fit
        )
        for p in profiles
    ]  # fmt: skip
    if cluster.run.program is not None:  # what is more than the memory takes in one pass, it can't compute
        candidates = [
            replace(c, cap=min((n for n in (c.cap, p.max_batch) if n), default=None), pass_limit=None)
            for c, p in zip(candidates, profiles)
        ]
    return candidates, unknown


def plan_data(plan: Plan) -> dict[str, Any]:
    """The object of `motley plan --json`."""
    return {
        "options": [
            {
                "hosts": list(o.hosts),
                "global_batch": o.global_batch,
                "accumulate": o.prediction.accumulate,
                "compress": o.compress,
                "samples_per_s": round(o.samples_per_s, 1),
            }
            for o in plan.options
        ],
        "advice": list(plan.advice),
    }


def plan_text(plan: Plan, global_batch: int) -> str:
    """The configured global batch first, the option to take marked; then the best of larger batches; then advice."""
    options = [o for o in plan.options if _gains(o, plan.options)]
    rows: list[tuple[str, ...]] = [("", "samples/s", "step", "batch", "compress", "accumulate", "hosts")]
    rows += [_row(o, "▶" if o == plan.take else "") for o in options if o.global_batch == global_batch]
    for batch in sorted({o.global_batch for o in options if o.global_batch != global_batch}):
        rows += [_row(o, "") for o in [o for o in options if o.global_batch == batch][:LARGER]]
    widths = [max(cell_len(row[i]) for row in rows) for i in range(len(rows[0]))]
    table = "\n".join("  ".join(fit(c, w) for c, w in zip(row, widths)).rstrip() for row in rows)
    return "\n".join([table, "", *(f"· {text}" for text in plan.advice)])


def _gains(option: Option, among: Sequence[Option]) -> bool:
    """Whether it is worth a line: not if it compresses for next to nothing."""
    if option.compress == "none":
        return True
    plain = [o for o in among if (o.hosts, o.global_batch, o.compress) == (option.hosts, option.global_batch, "none")]
    return not plain or option.samples_per_s > plain[0].samples_per_s * WORTH_COMPRESSING


def _row(option: Option, mark: str) -> tuple[str, ...]:
    prediction = option.prediction
    return (
        mark,
        f"{option.samples_per_s:,.0f}",
        f"{prediction.step_ms:,.0f} ms",
        f"{option.global_batch:,}",
        option.compress,
        str(prediction.accumulate),
        " ".join(option.hosts),
    )


def _profiles(cluster: Cluster, store: Store) -> tuple[list[Profile], list[str]]:
    """Those that hold for the run as configured, in the order of the hosts; and a word on each host without."""
    found: list[Profile] = []
    lacking: dict[str, list[str]] = {}  # names by what is wrong; "" for no profile at all
    stored = store.of_task(task_key(cluster))
    for host in cluster.hosts:
        mine = [p for p in stored if p.host == host.name and (host.devices == "auto" or p.device in host.devices)]
        usable = [p for p in mine if not _changed(cluster, host, p)]
        found += usable
        if not usable:
            lacking.setdefault(_changed(cluster, host, mine[0]) if mine else "", []).append(host.name)
    return found, [_left_out(cluster, names, why) for why, names in lacking.items()]


def _left_out(cluster: Cluster, names: Sequence[str], why: str) -> str:
    """Of hosts without a profile, or whose profile is out of date, with the command that measures them."""
    whose = "its profile is" if len(names) == 1 else "their profiles are"
    what = f"{whose} out of date ({why})" if why else "not measured yet"
    return f"{', '.join(names)}: {what}. To measure: {motley(cluster, 'profile', *only_words(cluster, names))}"


def _changed(cluster: Cluster, host: Host, profile: Profile) -> str:
    return differences(profile.conditions, conditions(cluster, host))


def _links(cluster: Cluster, profiles: Sequence[Profile]) -> tuple[dict[str, LinkSpeed | None], list[str]]:
    """Each host's way to the others; the leader has none of its own. A word on what had to be assumed."""
    known = {p.host: p.link for p in profiles if p.link is not None}
    usual = GIGABIT
    if known:
        usual = LinkSpeed(
            mbit=median(link.mbit for link in known.values()),
            latency_ms=median(link.latency_ms for link in known.values()),
        )
    links: dict[str, LinkSpeed | None] = {p.host: known.get(p.host, usual) for p in profiles}
    links[cluster.leader] = None
    unknown = [host for host in links if host != cluster.leader and host not in known]
    said = f"the network of {', '.join(unknown)} was not measured; {usual.mbit:,.0f} Mbit/s is assumed"
    return links, [said] if unknown else []
