"""Each pod is a host of its own in the network of the pods: with an address, names that lead to it, and a cable."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from motley.trainer.host import processes
from tests.kubernetes.api.cluster import Kubernetes
from tests.kubernetes.api.nodes import pod_network
from tests.kubernetes.console import BOUND_S, LONG, Console, assert_nothing_left, cluster_toml, wait_for
from tests.kubernetes.test_kubectl import SH, started
from tests.support.absent import not_here

ROOT = Path(__file__).resolve().parents[2]
SERVES = """\
import socket
with socket.create_server(("0.0.0.0", 8000)) as listener:
    print("listens", flush=True)
    while True:
        connection, _ = listener.accept()
        connection.sendall(socket.gethostname().encode())
        connection.close()
"""
ASKS = """\
import socket, sys
with socket.create_connection((sys.argv[1], 8000), timeout=float(sys.argv[2])) as connection:
    print(connection.recv(100).decode(), connection.getpeername()[0])
"""
STARTS = """\
import sys
from pathlib import Path
from tests.kubernetes.api.cluster import Kubernetes
from tests.kubernetes.test_kubectl import started
with Kubernetes(Path(sys.argv[1])) as cluster:
    started(cluster, "box", "sleep 1000")
    print(*cluster.processes(), flush=True)
    assert sys.stdin.read() != "fail"
"""


@pytest.fixture
def networked(cluster: Kubernetes) -> Kubernetes:
    """Where pods can't have networks of their own, other tests do without; the reason is said here."""
    if reason := pod_network.why_not():
        not_here(f"all pods share this machine's loopback: {reason}")
    return cluster


def address_of(cluster: Kubernetes, pod: str) -> str:
    return str((cluster.object("pods", pod) or {})["status"]["podIP"])


def inside(cluster: Kubernetes, pod: str, *words: str) -> subprocess.CompletedProcess[str]:
    return cluster.kubectl("exec", pod, "--", *words)


def asked(cluster: Kubernetes, pod: str, name: str, *, wait_s: float = 10.0) -> subprocess.CompletedProcess[str]:
    """Who serves there, as seen from the pod."""
    return inside(cluster, pod, "python3", "-c", ASKS, name, str(wait_s))


def service(name: str) -> str:
    """A headless one before all pods of `started`."""
    spec = {"clusterIP": "None", "selector": {"app": "shell"}}
    return str(yaml.safe_dump({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}))


def test_two_pods_listen_on_the_same_port_each_at_its_own_address(networked: Kubernetes) -> None:
    assert networked.kubectl("apply", "-f", "-", given=service("pair")).returncode == 0
    for name in ("one", "two"):
        started(networked, name, f"exec python3 -c '{SERVES}'", hostname=name, subdomain="pair")
    networked.until(lambda: all("listens" in networked.log(name) for name in ("one", "two")), "both listen")
    one, two = (address_of(networked, name) for name in ("one", "two"))
    assert one != two

    found = {name: asked(networked, "one", name) for name in ("localhost", "two.pair", two)}

    assert found["localhost"].stdout == "one 127.0.0.1\n", found["localhost"].stderr
    assert found["two.pair"].stdout == found[two].stdout == f"two {two}\n", found["two.pair"].stderr
    listed = inside(networked, "two", "getent", "ahostsv4", "pair.default.svc.cluster.local")
    assert set(re.findall(r"^(\S+) +STREAM", listed.stdout, re.MULTILINE)) == {one, two}
    assert inside(networked, "two", "getent", "hosts", "three.pair").stdout == ""
    assert set(inside(networked, "one", *SH, "ls /sys/class/net").stdout.split()) == {"lo", "eth0"}

    networked.unplug("two")
    cut = asked(networked, "one", two, wait_s=1.0)
    assert re.search(r"timed out|No route to host", cut.stderr), cut.stdout + cut.stderr
    assert asked(networked, "two", "localhost").stdout == "two 127.0.0.1\n"
    networked.plug("two")
    networked.until(lambda: asked(networked, "one", two).stdout == f"two {two}\n", "it is there again")


@pytest.mark.long
def test_a_pod_whose_network_is_cut_is_done_without_and_comes_back_with_it(
    networked: Kubernetes, console: Console, tmp_path: Path
) -> None:
    config = cluster_toml(tmp_path, steps=LONG, keys='interface = "eth0"')
    following = console(config, "night")
    wait_for(following, r"step \d+")
    (pod,) = (one["metadata"]["name"] for one in networked.objects("pods") if "-small-" in one["metadata"]["name"])

    networked.unplug(pod)

    wait_for(following, r"small lost at step \d+: went on after")
    assert networked.phase(pod) == "Running"
    wait_for(following, r"step \d+")
    networked.plug(pod)
    wait_for(following, r"small joined at step \d+: went on after")
    assert networked.phase(pod) == "Running"
    following.send_signal(signal.SIGINT)
    output, _ = following.communicate(timeout=BOUND_S)
    assert json.loads(output)["state"] == "stopped"
    assert_nothing_left(networked, claims=True)


@pytest.mark.parametrize("how", ["fail", "killed"])
def test_nothing_is_left_of_networks_when_their_maker_ends(networked: Kubernetes, tmp_path: Path, how: str) -> None:
    """By what a test raises, or by a signal that nobody survives."""
    folder, cards = tmp_path / "maker", set(os.listdir("/sys/class/net"))
    folder.mkdir()
    words = [sys.executable, "-c", STARTS, str(folder)]
    with subprocess.Popen(words, cwd=ROOT, env=networked.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as maker:
        assert maker.stdout is not None
        assert maker.stdout.readline().split(), "a pod runs"
        left = processes.descendants(maker.pid)
        assert len(left) >= 4  # the pod, what holds its namespaces, what holds its network, and the bridge's
        assert set(os.listdir("/sys/class/net")) == cards
        if how == "killed":
            maker.kill()
        maker.communicate(how.encode(), timeout=BOUND_S)
    assert maker.returncode == {"fail": 1, "killed": -signal.SIGKILL}[how]
    networked.until(lambda: all(processes.start_ticks(pid) != start for pid, start in left.items()), "all have ended")
    assert set(os.listdir("/sys/class/net")) == cards


@pytest.mark.usefixtures("cluster")
def test_where_pods_can_have_no_network_of_their_own_names_lead_to_loopback(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    with Kubernetes(folder, own_networks=False) as shared:
        assert shared.kubectl("apply", "-f", "-", given=service("pair")).returncode == 0
        started(shared, "one", "sleep 1000", hostname="one", subdomain="pair")
        assert address_of(shared, "one") == "127.0.0.1"
        listed = inside(shared, "one", "getent", "ahostsv4", "one.pair")
        assert set(re.findall(r"^(\S+) +STREAM", listed.stdout, re.MULTILINE)) == {"127.0.0.1"}
