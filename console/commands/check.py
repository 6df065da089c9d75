"""`motley check`: looks at every host without starting anything."""

from __future__ import annotations

import asyncio

from motley.console.commands.json_output import print_data
from motley.console.commands.plain import Printer
from motley.console.control.terminal_prompts import asker
from motley.console.view.answer_tables import findings_text
from motley.remote.config.cluster import Cluster
from motley.remote.launch.prepare_hosts import preflight
from motley.remote.ssh.new_host_keys import nobody


def check(cluster: Cluster, *, json: bool) -> int:
    """3 when a host is not in order. With `json` nobody is asked about new host keys."""
    findings = asyncio.run(preflight(cluster, Printer(), nobody if json else asker()))
    ok = not any(finding.level == "error" for finding in findings)
    if json:
        print_data({"ok": ok, "findings": [finding.as_dict() for finding in findings]})
    else:
        print(findings_text(findings, hosts=len(cluster.hosts)))
    return 0 if ok else 3
