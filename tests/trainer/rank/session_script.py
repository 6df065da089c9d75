"""A script of the user's own that is a session, without torch: it calls the coordinator as `motley.session()` does.

Every member of a group of several makes a step when it is told to (`step_<member>` appears in the run's folder), and
says what it sees in files there. `motley` is found as a user's script finds it.
"""

SCRIPT = """
import json, os, pathlib, signal, sys, threading, time, traceback
import motley
from motley.trainer.contract.spec import Spec
from motley.trainer.host.exit_codes import Exit
from motley.trainer.host.journal import Journal
from motley.trainer.host.leader import lead_of
from motley.trainer.host.run_members import keep
from motley.trainer.rank.coordinator_client import CoordinatorClient
from motley.trainer.rank.coordinator_connection import JoinError

place = pathlib.Path(os.environ["MOTLEY_DIR"])
number = int(os.environ["MOTLEY_MEMBER"])
anew = os.environ.get("MOTLEY_ANEW") == "1"
assert all("token" not in name.lower() for name in os.environ)


def say(name, **table):
    (place / f".{name}").write_text(json.dumps({"pid": os.getpid(), "anew": anew, **table}))
    (place / f".{name}").rename(place / name)


spec = Spec.from_json((place / "spec.json").read_bytes())
assert spec.token not in repr(dict(os.environ))
journal = Journal(place, host=spec.host, source=f"rank {number}")
say(f"begun_{number}", path=motley.__file__)
if number in json.loads(os.environ.get("SILENT", "[]")):
    signal.pause()
asked = threading.Event()
woken = threading.Event()


def term(*_):
    asked.set()
    woken.set()


signal.signal(signal.SIGTERM, term)


def where():
    lead = lead_of(place, spec)
    return lead.address, lead.port


line = CoordinatorClient.dial(spec, member=number, deadline_s=20.0, where=where, session=True)


def over(text, state):
    asked.wait(3.0 if state == "stopped" else 0.0)
    os._exit({"stopped": Exit.STOPPED}.get(state, Exit.PEER_LOST))


line.over = over
step, last = -1 if anew else 0, {}
try:
    while True:
        group = line.ready(times={}, store=(line.address, 1), step=step, **last)
        last = {"term": group.term, "leader": group.leader, "generation": group.generation}
        keep(place, group.roll)
        step = group.step
        woken.clear()
        if not line.guard(group.generation, woken.set):
            continue
        line.joined()
        say(f"group_{group.generation}_{number}", members=group.members, step=step, term=group.term)
        broken = False
        while not broken:
            step = line.step = line.arrived = step + 1
            if group.rank == 0:
                line.report(steps=[[step, 8, 10.0, 1.0 / step]], batches=[[4] * group.world_size])
            if group.generation and step == group.step + 1:
                line.resumed(group.generation, 0.5)
            if asked.is_set():
                line.ended("stopped")
                sys.exit(Exit.STOPPED)
            if (place / f"fail_{number}").exists():
                raise RuntimeError("the loss is a turnip")
            if (place / "finish").exists():
                line.ended("finished")
                sys.exit(0)
            broken = woken.wait(0.02) and not asked.is_set()
            broken = broken or (line.boundary and group.rank == 0)
        line.boundary = False
        line.let_go()
except JoinError as error:
    print(error, file=sys.stderr)
    os._exit(Exit.STOPPED if asked.wait(3.0) else Exit.GAVE_UP)
except Exception:
    traceback.print_exc()
    line.ended("failed")
    if (place / "hang").exists():
        asked.wait()
        os._exit(Exit.STOPPED)
    os._exit(1)
"""
