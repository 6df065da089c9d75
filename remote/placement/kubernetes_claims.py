"""The claims that a run's manifests have made, deleted again where the run never began: but for those that another run
has come to use meanwhile. Claims of a cluster.toml are the same for all its runs.

>>> await delete_claims(kubectl, "night", ["jobsets.jobset.x-k8s.io"], ["persistentvolumeclaim/cards-workspace"])
'volumes are left: cards-workspace, which the run morning uses'
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from motley.remote.errors import HostError
from motley.remote.hosts.kubectl import Kubectl
from motley.remote.hosts.kubectl_errors import told
from motley.remote.hosts.pods import LABEL
from motley.remote.sanitize import clean

Table = Mapping[str, Any]


async def delete_claims(kubectl: Kubectl, run: str, resources: Sequence[str], claims: Sequence[str]) -> str:
    """`resources`: what may name a claim before there is a pod. Returns what is left, and why; empty when nothing is.
    Never raises a HostError."""
    if not claims:
        return ""
    names = [claim.rpartition("/")[2] for claim in claims]
    by_hand = kubectl.to_paste("delete", *claims)
    try:
        items = (await kubectl.table("get", ",".join(("pods", *resources)))).get("items", [])
        used = users(items, run)
        unused = [claim for claim, name in zip(claims, names, strict=True) if name not in used]
        if unused:
            done = await kubectl.run("delete", *unused, "--ignore-not-found", "--wait=false")
            if done.code:
                return f"volumes are left: {', '.join(unused)}: {told(done.stderr).cause}; {by_hand} deletes them"
    except HostError as error:
        text = f"volumes are left: {', '.join(names)}, since it can't be seen whether another run uses them"
        return f"{text} ({error.cause}); {by_hand} deletes them"
    left = [f"{name}, which {used[name]} uses" for name in names if name in used]
    return f"volumes are left: {'; '.join(left)}" if left else ""


def users(items: Iterable[Table], run: str) -> dict[str, str]:
    """By claim: what uses it that is not of this run."""
    found: dict[str, str] = {}
    for one in items:
        about = one.get("metadata") or {}
        of = (about.get("labels") or {}).get(LABEL)
        if of == run:
            continue
        who = clean(f"the run {of}" if of else f"{one.get('kind')} {about.get('name')}")
        for claim in _claims_in(one.get("spec")):
            found.setdefault(claim, who)
    return found


def _claims_in(value: Any) -> Iterator[str]:
    """Wherever a template lies in it: each kind of job has it elsewhere."""
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            source = one.get("persistentVolumeClaim")
            if isinstance(source, dict):
                yield str(source.get("claimName"))
            left += one.values()
        elif isinstance(one, list):
            left += one
