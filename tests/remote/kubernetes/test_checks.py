"""What can't go to Kubernetes is told by its key, before anything is written."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from motley.remote.config.load import load
from motley.remote.errors import ConfigError, UsageError
from motley.remote.kubernetes.checks import notes
from motley.remote.kubernetes.document_rules import problems
from motley.remote.kubernetes.yaml_text import plain, text
from tests.remote.kubernetes.variants import ALIKE, MANY, ONE, TWO, VARIANTS, Variant, made


def told(folder: Path, variant: Variant, *, run: str = "night") -> str:
    """What the user is told of it, in lines."""
    with pytest.raises((ConfigError, UsageError)) as caught:
        made(folder, variant, run=run)
    return "\n".join(caught.value.problems) if isinstance(caught.value, ConfigError) else str(caught.value)


@pytest.mark.parametrize(
    ("toml", "expected"),
    [
        ('[[hosts]]\nname = "Box_2"\n', 'hosts.Box_2.name: "Box_2" is no name for Kubernetes'),
        ('[[hosts]]\nname = "Box_2"\n', '"box-2" is one'),
        ('[[hosts]]\nname = "a"\nnodes = 0\n', "hosts.a.nodes: must be at least 1, is 0"),
        ('[[hosts]]\nname = "a"\nmemory = "lots"\n', 'hosts.a.memory: "lots" is no amount; write one such as "16Gi"'),
        ('[[hosts]]\nname = "a"\nmemory = "0Gi"\n', "must be above 0"),
        (
            '[[hosts]]\nname = "a"\ngpus = 1\ndevices = ["cuda:0", "cuda:1"]\n',
            "hosts.a.gpus: is 1, and devices names 2",
        ),
        (
            '[run]\ntask = "causal_lm"\n[task]\nmodel = "m"\ntrain = "/a.txt"\n'
            '[[hosts]]\nname = "a"\ngpus = 2\ndevices = [["cuda:0", "cuda:1"], "cuda:2"]\n',
            "hosts.a.gpus: is 2, and devices names 3",
        ),
        ('[[hosts]]\nname = "a"\ndevices = ["cuda:3"]\n', "hosts.a.devices: has cuda:3; in a pod"),
        ('[[hosts]]\nname = "a"\nnode_selector = {"x y" = "z"}\n', "hosts.a.node_selector: has"),
        (ONE + '[kubernetes]\nimage = "https://x/y"\n', "kubernetes.image"),
        (ONE + '[kubernetes]\nnamespace = "Team A"\n', 'kubernetes.namespace: "Team A" is no name'),
        (ONE + '[kubernetes]\npull_secret = "a b"\n', "kubernetes.pull_secret"),
        (ONE + '[kubernetes]\ngpu_resource = "gpu"\n', 'kubernetes.gpu_resource: "gpu" is no name of a resource'),
        (ONE + '[kubernetes]\ninterface = "eth0 eth1"\n', "kubernetes.interface"),
        (ONE + '[kubernetes]\nshm = "2 Gi"\n', "kubernetes.shm"),
        (ONE + '[kubernetes]\nmodel = "2Gi"\n', "kubernetes.model: is unknown; did you mean models?"),
        (ONE + '[kubernetes]\nmodels = "2Gi"\nmodels_claim = "hub"\n', "kubernetes.models: models_claim is given too"),
        (TWO + '[kubernetes]\nmodels = "2Gi"\naccess = "ReadWriteOnce"\n', "kubernetes.access: lets one node mount"),
        (MANY, "hosts.cpu: has other pods than big"),
        (
            '[[hosts]]\nname = "a"\nnodes = 2\n[[hosts]]\nname = "a-1"\n',
            'hosts.a-1.name: "a-1" is a machine of a already',
        ),
        (ONE + '[run]\ntask = "absent.py"\n', "run.task: there is no file"),
        (ONE + '[data]\npush = "absent"\n', "data.push"),
        (ALIKE + '[balance]\npolicy = "static"\nshares = [128, 128]\n', "has 2 entries"),
    ],
)
def test_a_mistake_is_told_by_its_key(toml: str, expected: str, tmp_path: Path) -> None:
    assert expected in told(tmp_path, Variant("pytorchjob", toml))


def test_a_project_that_is_too_large_for_a_manifest(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(random.Random(0).randbytes(900 * 1024))
    said = told(tmp_path, Variant("pytorchjob", ONE + '[run]\nscript = "train.py"\n'))
    assert "run.project: the project is" in said
    assert ".motleyignore" in said
    (tmp_path / ".motleyignore").write_text("*.bin\n")
    assert made(tmp_path, Variant("pytorchjob", ONE + '[run]\nscript = "train.py"\n')).text


def test_a_project_and_data_that_are_too_large_for_one_manifest_together(tmp_path: Path) -> None:
    variant = Variant("pytorchjob", ONE + '[run]\nscript = "train.py"\n[data]\npush = "data"\n')
    (tmp_path / "data").mkdir()
    (tmp_path / ".motleyignore").write_text("data/\n")
    for kib, name in ((550, "weights.bin"), (500, "data/rows.bin")):
        (tmp_path / name).write_bytes(random.Random(kib).randbytes(kib * 1024))
    said = told(tmp_path, variant)
    assert "data.push: the project and the data take 1,05" in said
    assert "a manifest carries 1,000 KiB of files" in said
    (tmp_path / "data/rows.bin").write_bytes(random.Random(0).randbytes(400 * 1024))
    assert made(tmp_path, variant).text


@pytest.mark.parametrize("run", ["Night", "night_1", "1night", "n" * 64, "night-"])
def test_a_run_has_a_name_that_becomes_part_of_an_address(run: str, tmp_path: Path) -> None:
    assert "--name" in told(tmp_path, VARIANTS["one host"], run=run)


def test_names_of_pods_end_at_63_characters(tmp_path: Path) -> None:
    assert "its pods would be called" in told(tmp_path, Variant("jobset", MANY), run="n" * 60)


def test_several_nodes_are_nothing_for_ssh(tmp_path: Path) -> None:
    file = tmp_path / "cluster.toml"
    file.write_text(ALIKE)
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert any('hosts.node.nodes: is 4, which is for connect = "slurm" and' in one for one in caught.value.problems)


def test_what_is_right_and_may_surprise_is_told_too(tmp_path: Path) -> None:
    made(tmp_path, VARIANTS["one host"])
    said = "\n".join(notes(load(tmp_path / "cluster.toml", verb="export kubernetes")))
    for words in ("no [kubernetes] image", "gpus = 1 asks for a GPU", "no [kubernetes] workspace"):
        assert words in said


def test_our_own_rules_find_what_an_operator_would_refuse(tmp_path: Path) -> None:
    documents = [plain(table) for table in made(tmp_path, VARIANTS["two classes"]).documents]
    replicas = documents[-1]["spec"]["pytorchReplicaSpecs"]
    replicas["Master"]["replicas"] = 2
    container = replicas["Worker"]["template"]["spec"]["containers"][0]
    container["name"] = "trainer"
    container["env"].append({"name": "PET_NNODES", "value": "2"})
    container["ports"][0]["containerPort"] = 0
    replicas["Worker"]["template"]["spec"]["volumes"].pop()
    said = "; ".join(problems(documents))
    for words in ("exactly one Master", "must be pytorch", "PET_NNODES", "port pytorchjob-port is 0", "not mounted"):
        assert words in said


def test_a_comment_stands_before_its_key_wherever_that_is() -> None:
    table = {"a": {"#b": "of b", "b": [{"#c": "of c\n  a command", "c": "x: y"}, {"c": "two\nlines\n"}]}}
    assert text(table) == (
        "a:\n  # of b\n  b:\n  # of c\n  #   a command\n  - c: 'x: y'\n  - c: |\n      two\n      lines\n"
    )
