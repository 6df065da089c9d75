"""Runs of many kinds as cluster.toml has them, for tests of their manifests."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from motley.remote.config.load import load
from motley.remote.kubernetes.documents import Kind
from motley.remote.kubernetes.manifests import Manifests, manifests

ONE = '[[hosts]]\nname = "box"\n'
TWO = '[[hosts]]\nname = "gpu"\ngpus = 1\n\n[[hosts]]\nname = "cpu"\ncpus = 3.5\nmemory = "8Gi"\n'
MANY = (
    '[[hosts]]\nname = "big"\ngpus = 2\nnodes = 2\nnode_selector = {"gpu" = "a100"}\n\n'
    '[[hosts]]\nname = "small"\nnodes = 3\ndevices = ["cuda:0"]\nmax_batch = 32\n\n[[hosts]]\nname = "cpu"\n'
)
ALIKE = '[[hosts]]\nname = "node"\nnodes = 4\ngpus = 1\nrelative_speed = 2.0\n'
VOLUMES = '[kubernetes]\nworkspace = "20Gi"\nmodels = "100Gi"\ntracker = "1Gi"\nstorage_class = "nfs"\n'
ONCE = '[kubernetes]\nworkspace = "20Gi"\ntracker_claim = "aim"\naccess = "ReadWriteOnce"\n'
WHERE = (
    '[kubernetes]\nimage = "registry.example/team/motley:1"\npull_secret = "registry"\nnamespace = "training"\n'
    'service_account = "trainer"\ninterface = "eth0"\nshm = "8Gi"\n'
    'gpu_resource = "amd.com/gpu"\npull_policy = "Always"\n'
)
TASK = '[run]\ntask = "night.py"\nsteps = 5\n'
SCRIPT = '[run]\nscript = "train.py"\nargs = ["--lr", "0.1"]\n'
LANGUAGE = '[run]\ntask = "causal_lm"\n\n[task]\nmodel = "org/model"\ntrain = "train.jsonl"\n\n[data]\npush = "data"\n'
SECRETS = '[defaults]\nenv = {EPOCHS = "3"}\npass_env = ["HF_TOKEN"]\n\n'
FILES = {
    "night.py": "class Night:\n    pass\n",
    "train.py": "print('step 1')\n",
    "data/train.jsonl": '{"text": "hello"}\n',
}
ENVIRONMENT = {"HF_TOKEN": "a token"}


class Variant(NamedTuple):
    kind: Kind
    toml: str


VARIANTS: dict[str, Variant] = {
    "one host": Variant("pytorchjob", ONE),
    "two classes": Variant("pytorchjob", TWO),
    "nodes of one class": Variant("pytorchjob", ALIKE),
    "volumes": Variant("pytorchjob", TWO + VOLUMES),
    "volumes of one node": Variant("pytorchjob", TWO + ONCE),
    "registry and namespace": Variant("pytorchjob", ALIKE + WHERE),
    "a task of one's own": Variant("pytorchjob", ONE + TASK),
    "a script": Variant("pytorchjob", TWO + SCRIPT + VOLUMES),
    "a language model": Variant("pytorchjob", ALIKE + LANGUAGE),
    "secrets": Variant("pytorchjob", SECRETS + TWO),
    "one host as a JobSet": Variant("jobset", ONE),
    "three classes as a JobSet": Variant("jobset", MANY + VOLUMES),
    "a script as a JobSet": Variant("jobset", MANY + SCRIPT + WHERE),
    "one host as a TrainJob": Variant("trainjob", ONE),
    "three classes as a TrainJob": Variant("trainjob", MANY + ONCE),
    "a language model as a TrainJob": Variant("trainjob", SECRETS + ALIKE + LANGUAGE + VOLUMES),
}


def made(folder: Path, variant: Variant, *, run: str = "night") -> Manifests:
    """Of a cluster.toml in this folder. Its `[cluster]` begins with a name; the toml goes on from there."""
    for name, content in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content)
    file = folder / "cluster.toml"
    file.write_text(f'[cluster]\nname = "cards"\n\n{variant.toml}')
    cluster = load(file, verb="export kubernetes")
    return manifests(cluster, run, variant.kind, token="5e" * 32, environ=ENVIRONMENT)
