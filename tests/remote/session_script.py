"""A script of the user's own that is a session, for demo hosts: it does what the stage's stand-in for a rank does.

It finds `motley` as any script does, calls the coordinator as `motley.session()` does, and trains nothing.
"""

SCRIPT = """
# It does what motley.session() does.
import os, pathlib, signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
from motley.trainer.contract.spec import Spec
from motley.trainer.host.exit_codes import Exit
from motley.trainer.host.leader import lead_of
from motley.trainer.rank.coordinator_client import CoordinatorClient, RunOver
from motley.trainer.rank.task_rank import StandIn

folder = pathlib.Path(os.environ["MOTLEY_DIR"])
spec, member = Spec.from_json((folder / "spec.json").read_bytes()), int(os.environ["MOTLEY_MEMBER"])
print(f"going on from {spec.resume}", flush=True)


def leader():
    lead = lead_of(folder, spec)
    return lead.address, lead.port


line = CoordinatorClient.dial(spec, member=member, deadline_s=20, where=leader, session=True)
rank = StandIn(spec, spec.host, member, folder, line, step=-1 if "MOTLEY_ANEW" in os.environ else 0)
state = None
while state is None:
    try:
        if (state := rank.one_group()) is None:
            line.let_go()
    except RunOver as over:
        state = over.state
line.ended(state)
os._exit(Exit.FINISHED if state == "finished" else Exit.STOPPED)
"""
