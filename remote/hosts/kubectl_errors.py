"""What kubectl and the cluster say when something is refused -> the cause in a line, and what to do. Pure.

>>> told('error: current-context must exist in order to minify', "kubectl")
('kubectl knows no cluster: …', 'kubectl config get-contexts lists those that it knows; …')
"""

from __future__ import annotations

import re
from typing import NamedTuple

from motley.remote.sanitize import clean

INSTALL = "Install kubectl 1.24 or later (kubernetes.io/docs/tasks/tools), and have it on this terminal's PATH."
CONTEXTS = "kubectl config get-contexts lists the clusters that it knows; [kubernetes] context names one of them."
QUOTA = "Ask for less (nodes, gpus, cpus, memory in cluster.toml), or have the quota raised: kubectl describe quota"
OLDEST = (1, 24)  # whose `exec` and server-side `apply` are as they are now


class Told(NamedTuple):
    cause: str
    remedy: str


_RULES: tuple[tuple[str, str, str], ...] = (  # a pattern, the cause ("" : as it stands), the remedy
    (
        r"current-context (?:must exist|is not set)|no configuration has been provided",
        "kubectl knows no cluster",
        CONTEXTS,
    ),
    (r"context \"?[^\"]+\"? does not exist|context was not found for specified context", "", CONTEXTS),
    (
        r"localhost:8080 was refused",
        "kubectl knows no cluster: it has no context, and asks localhost:8080, where none is",
        CONTEXTS,
    ),
    (
        r"was refused|no such host|i/o timeout|network is unreachable|no route to host|TLS handshake timeout|"
        r"Client\.Timeout exceeded|connection reset by peer|context deadline exceeded|ServiceUnavailable|\bEOF$",
        "",
        "The cluster does not answer: is it up, is a VPN needed? kubectl cluster-info asks the same; [kubernetes] "
        "context names another one.",
    ),
    (
        r"You must be logged in|Unauthorized|the server has asked for the client to provide credentials|"
        r"getting credentials: exec|token (?:is|has) expired",
        "",
        "Log in to the cluster anew, as its provider says; kubectl auth whoami shows who you are there.",
    ),
    (
        r"x509: ",
        "",
        "The cluster's certificate is not that of kubectl's configuration: fetch the configuration anew.",
    ),
    (r"exceeded quota", "", QUOTA),
    (
        r"namespaces? \"[^\"]+\" (?:not found|is being terminated)",
        "",
        "Make it (kubectl create namespace NAME), or set [kubernetes] namespace to one that there is: kubectl get "
        "namespaces",
    ),
    (
        r"no matches for kind|doesn't have a resource type|could not find the requested resource",
        "",
        "The cluster has no operator for this kind of job: kubectl api-resources lists what it has; [kubernetes] kind "
        "names another one.",
    ),
    (
        r"admission webhook|denied the request|violates PodSecurity",
        "",
        "A rule of the cluster's refuses it: mend what it names, or ask who runs the cluster.",
    ),
    (
        r"forbidden",
        "",
        "Ask who runs the cluster for that right, or take a namespace where you have it: [kubernetes] namespace. "
        "kubectl auth can-i --list shows what you may do.",
    ),
    (r"AlreadyExists|already exists", "", "Choose another name with --name, or delete what is there."),
    (r"is invalid|ValidationError|BadRequest|strict decoding error", "",
     "Mend cluster.toml; motley export kubernetes writes the manifests to look at."),
)  # fmt: skip
_FRAME = re.compile(r"^(?:error: |Error from server(?: \((\w+)\))?: |Unable to connect to the server: )+")
_LOG = re.compile(r"^[EWI]\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ \S+\] ")  # of klog, which tells of each attempt


def told(said: str) -> Told:
    """Of kubectl's stderr."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    plain = [line for line in lines if not _LOG.match(line) and not line.startswith("Warning: ")]
    for line in plain or lines:
        for pattern, cause, remedy in _RULES:
            if re.search(pattern, line, re.IGNORECASE):
                return Told(clean(cause or _FRAME.sub("", line)), remedy)
    line = (plain or lines or ["kubectl ended without a word"])[-1]
    return Told(clean(_FRAME.sub("", line)), "kubectl said so; the same command by hand may say more.")


def version_problem(said: str) -> str:
    """Of `kubectl version --client`, as JSON or as text: what is wrong with it; empty when it is new enough."""
    found = re.search(r"v(\d+)\.(\d+)", said)
    if found is None:
        return "it does not say which version it is"
    if (int(found[1]), int(found[2])) < OLDEST:
        return f"it is {found[0]}, which is too old: {'.'.join(map(str, OLDEST))} is the least"
    return ""


OWN_CODE = re.compile(r"command terminated with exit code \d+\s*$")  # not the way to it
