"""What `motley export kubernetes` writes: valid by our own rules, and by the operators' schemas where these are."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from motley.remote.kubernetes.document_rules import problems, templates
from motley.remote.kubernetes.yaml_text import plain
from motley.trainer.pod.description import Description
from tests.remote.kubernetes.crd import FOLDER, schema_of, validate
from tests.remote.kubernetes.variants import ALIKE, MANY, ONE, SCRIPT, TWO, VARIANTS, VOLUMES, Variant, made

Table = dict[str, Any]
schemas = pytest.mark.skipif(
    not FOLDER.is_dir(), reason=f"{FOLDER} is not here: it has the schemas of the operators, which are not ours"
)


def documents_of(folder: Path, variant: Variant) -> dict[str, Table]:
    """By their kind, as the text has them."""
    return {table["kind"]: table for table in yaml.safe_load_all(made(folder, variant).text)}


def description_of(documents: dict[str, Table]) -> Description:
    return Description.from_json(documents["ConfigMap"]["data"]["run.json"])


def variables_of(template: Table) -> dict[str, Any]:
    (container,) = template["spec"]["containers"]
    return {one["name"]: one.get("value", one.get("valueFrom")) for one in container["env"]}


@pytest.mark.parametrize("name", VARIANTS)
def test_the_text_reads_back_as_what_our_own_rules_have_seen(name: str, tmp_path: Path) -> None:
    found = made(tmp_path, VARIANTS[name])
    read = list(yaml.safe_load_all(found.text))
    assert read == [plain(table) for table in found.documents]
    assert list(problems(read)) == []
    assert sum(line.lstrip().startswith("#") for line in found.text.splitlines()) > 12
    assert max(len(line) for line in found.text.splitlines() if line.lstrip().startswith("# ")) <= 120


@schemas
@pytest.mark.parametrize("name", VARIANTS)
def test_the_operators_schemas_take_them(name: str, tmp_path: Path) -> None:
    documents = documents_of(tmp_path, VARIANTS[name])
    job = schema_of("pytorchjob_v1.crd.json")
    replica = job["properties"]["spec"]["properties"]["pytorchReplicaSpecs"]["additionalProperties"]
    for kind, schema in (("PyTorchJob", job), ("TrainJob", schema_of("trainjob_v1alpha1.crd.json"))):
        if kind in documents:
            validate(documents[kind], schema)
    checked = [template for table in documents.values() for template in templates(table)]
    assert checked
    for template in checked:  # the same everywhere
        validate(template, replica["properties"]["template"])


@schemas
def test_a_field_that_is_not_in_the_schema_is_refused(tmp_path: Path) -> None:
    table = documents_of(tmp_path, VARIANTS["one host"])["PyTorchJob"]
    table["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"]["containers"][0]["ressources"] = {}
    with pytest.raises(jsonschema.ValidationError, match="ressources"):
        validate(table, schema_of("pytorchjob_v1.crd.json"))


@schemas
def test_our_rule_for_names_is_that_of_a_trainjob(tmp_path: Path) -> None:
    text = (FOLDER / "trainjob_v1alpha1.crd.json").read_text()
    (pattern,) = re.findall(r"metadata\.name\.matches\('([^']+)'\)", text)
    name = documents_of(tmp_path, VARIANTS["one host as a TrainJob"])["TrainJob"]["metadata"]["name"]
    assert re.search(pattern, name)
    assert not re.search(pattern, "1night")


def test_one_host_is_a_master_alone(tmp_path: Path) -> None:
    documents = documents_of(tmp_path, Variant("pytorchjob", ONE))
    assert list(documents) == ["Secret", "ConfigMap", "PyTorchJob"]
    assert list(documents["PyTorchJob"]["spec"]["pytorchReplicaSpecs"]) == ["Master"]


def test_classes_are_a_master_and_workers_with_what_each_asks_for(tmp_path: Path) -> None:
    documents = documents_of(tmp_path, Variant("pytorchjob", TWO))
    replicas = documents["PyTorchJob"]["spec"]["pytorchReplicaSpecs"]
    assert {kind: one["replicas"] for kind, one in replicas.items()} == {"Master": 1, "Worker": 1}
    asked = [one["template"]["spec"]["containers"][0]["resources"] for one in replicas.values()]
    assert asked == [
        {"requests": {"nvidia.com/gpu": "1"}, "limits": {"nvidia.com/gpu": "1"}},
        {"requests": {"cpu": "3500m", "memory": "8Gi"}, "limits": {"memory": "8Gi"}},
    ]
    members = description_of(documents).spec.members
    assert [(m.host, m.device) for m in members] == [("gpu", "cuda:0"), ("cpu", "cpu")]


def test_any_classes_are_groups_of_a_jobset_that_count_on(tmp_path: Path) -> None:
    documents = documents_of(tmp_path, Variant("jobset", MANY))
    jobs = documents["JobSet"]["spec"]["replicatedJobs"]
    counts = [(job["name"], job["template"]["spec"]["completions"]) for job in jobs]
    assert counts == [("big-0", 1), ("big", 1), ("small", 3), ("cpu", 1)]
    variables = [variables_of(template) for template in templates(documents["JobSet"])]
    assert [one["MOTLEY_POD_FIRST"] for one in variables] == ["0", "1", "2", "5"]
    assert {one["MOTLEY_LEADER"] for one in variables} == {"night-big-0-0-0.night"}
    description = description_of(documents)
    assert description.hosts == ("big-0", "big-1", "small-0", "small-1", "small-2", "cpu")
    members = [(m.host, m.device, m.max_batch) for m in description.spec.members]
    assert members[:3] == [("big-0", "cuda:0", None), ("big-0", "cuda:1", None), ("big-1", "cuda:0", None)]
    assert members[4:] == [*((f"small-{n}", "cuda:0", 32) for n in range(3)), ("cpu", "cpu", None)]
    selectors = [template["spec"].get("nodeSelector") for template in templates(documents["JobSet"])]
    assert selectors == [{"gpu": "a100"}, {"gpu": "a100"}, None, None]


@pytest.mark.parametrize("name", VARIANTS)
def test_a_job_has_a_note_of_its_hosts_by_the_numbers_of_their_pods(name: str, tmp_path: Path) -> None:
    documents = documents_of(tmp_path, VARIANTS[name])
    (job,) = [table for kind, table in documents.items() if kind in ("PyTorchJob", "JobSet", "TrainJob")]

    assert tuple(job["metadata"]["annotations"]["motley-hosts"].split(",")) == description_of(documents).hosts


def test_volumes_are_asked_for_once_and_the_tracker_is_the_leaders(tmp_path: Path) -> None:
    found = made(tmp_path, Variant("pytorchjob", TWO + VOLUMES))
    claims = [t["metadata"]["name"] for t in map(plain, found.documents) if t["kind"] == "PersistentVolumeClaim"]
    assert claims == ["cards-workspace", "cards-models", "cards-tracker"]
    master, worker = templates(plain(found.documents[-1]))
    mounts = [
        {mount["name"]: mount["mountPath"] for mount in one["spec"]["containers"][0]["volumeMounts"]}
        for one in (master, worker)
    ]
    shared = {"run": "/motley", "shm": "/dev/shm", "workspace": "/workspace", "models": "/models"}
    assert mounts == [{**shared, "tracker": "/tracker"}, shared]
    assert variables_of(master)["AIM_REPO"] == "/tracker"
    assert "AIM_REPO" not in variables_of(worker)
    assert variables_of(worker)["HF_HOME"] == "/models"


def test_the_users_files_travel_packed_and_a_script_knows_where_to_write(tmp_path: Path) -> None:
    documents = documents_of(tmp_path, Variant("pytorchjob", TWO + SCRIPT))
    description = description_of(documents)
    script = description.spec.script
    assert script is not None
    assert (script.path, script.args, description.trees) == ("train.py", ("--lr", "0.1"), (script.tree,))
    packed = base64.b64decode(documents["ConfigMap"]["binaryData"][f"{script.tree}.tar.gz"])
    assert packed.startswith(b"\x1f\x8b")
    (master, _) = templates(documents["PyTorchJob"])
    assert variables_of(master)["OUTPUT_DIR"] == "/workspace/night"
    ports = {port["name"]: port["containerPort"] for port in master["spec"]["containers"][0]["ports"]}
    assert ports == {"pytorchjob-port": 29500, "coordinator": 29501}


def test_secrets_are_in_the_secret_alone(tmp_path: Path) -> None:
    documents = documents_of(tmp_path, VARIANTS["secrets"])
    assert documents["Secret"]["stringData"] == {"MOTLEY_TOKEN": "5e" * 32, "HF_TOKEN": "a token"}
    for kind in ("ConfigMap", "PyTorchJob"):
        assert "a token" not in str(documents[kind])
        assert "5e5e" not in str(documents[kind])
    (master, _) = templates(documents["PyTorchJob"])
    assert variables_of(master)["EPOCHS"] == "3"
    assert variables_of(master)["HF_TOKEN"] == {"secretKeyRef": {"name": "night", "key": "HF_TOKEN"}}


def test_pods_that_are_lost_are_replaced_and_a_failure_ends_the_job(tmp_path: Path) -> None:
    job = documents_of(tmp_path, Variant("pytorchjob", ALIKE))["PyTorchJob"]["spec"]["pytorchReplicaSpecs"]
    assert {one["restartPolicy"] for one in job.values()} == {"ExitCode"}
    for name in ("three classes as a JobSet", "three classes as a TrainJob"):
        documents = documents_of(tmp_path, VARIANTS[name])
        spec = documents["JobSet"]["spec"] if "JobSet" in documents else documents["TrainingRuntime"]["spec"]
        jobs = spec["replicatedJobs"] if "replicatedJobs" in spec else spec["template"]["spec"]["replicatedJobs"]
        for one in jobs:
            fail, ignore = one["template"]["spec"]["podFailurePolicy"]["rules"]
            assert (fail["action"], fail["onExitCodes"]["values"]) == ("FailJob", [1, 4])
            assert ignore["onPodConditions"][0]["type"] == "DisruptionTarget"
