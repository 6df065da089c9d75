"""`motley check`: looks at every host without starting anything; with `--train` it tries the run's task on each."""

from __future__ import annotations

import asyncio
import sys

from motley.console.commands.json_output import print_data
from motley.console.commands.plain import Printer
from motley.console.control.terminal_prompts import asker
from motley.console.view.answer_tables import findings_text, tried_text
from motley.remote.config.cluster import Cluster
from motley.remote.launch.prepare_hosts import preflight
from motley.remote.launch.trial import Trials
from motley.remote.ssh.new_host_keys import nobody


def check(cluster: Cluster, *, json: bool, train: bool = False) -> int:
    """3 when a host is not in order. With `json` nobody is asked about new host keys."""
    printer = Printer()
    trials = Trials(printer, train=train)
    ask = nobody if json else asker()
    findings = asyncio.run(preflight(cluster, printer, ask, further=trials, make=train))
    ok = not any(finding.level == "error" for finding in findings)
    if json:
        tried = {"tried": [one.as_dict() for one in trials.tried]} if train else {}
        print_data({"ok": ok, "findings": [finding.as_dict() for finding in findings], **tried})
    else:
        print("\n".join([findings_text(findings, hosts=len(cluster.hosts)), *map(tried_text, trials.tried)]))
    if train and not trials.began:
        print("motley: nothing was tried: mend what is marked ✖ first", file=sys.stderr)
    return 0 if ok else 3
