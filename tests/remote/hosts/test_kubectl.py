"""What kubectl says when it can't -> the cause in a line, and what to do; and which kubectl is taken."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from motley.remote.config.sections import KubernetesKeys
from motley.remote.errors import HostError, UsageError
from motley.remote.hosts.kubectl import Kubectl
from motley.remote.hosts.kubectl_errors import CONTEXTS, OWN_CODE, QUOTA, told, version_problem

KLOG = (
    'E1123 23:45:19.508593    3445 memcache.go:381] "Couldn\'t get current server API group list" err="Get refused"\n'
)


@pytest.mark.parametrize(
    ("said", "cause", "remedy"),
    [
        ("error: current-context must exist in order to minify\n", "kubectl knows no cluster", CONTEXTS),
        (
            KLOG
            + "The connection to the server localhost:8080 was refused - did you specify the right host or port?\n",
            "kubectl knows no cluster: it has no context, and asks localhost:8080, where none is",
            CONTEXTS,
        ),
        ("Error in configuration: context was not found for specified context: nope\n", "nope", CONTEXTS),
        ('error: context "lab" does not exist\n', 'context "lab" does not exist', CONTEXTS),
        ("Unable to connect to the server: dial tcp: lookup api.example: no such host\n", "lookup", "cluster-info"),
        (
            "error: You must be logged in to the server (Unauthorized)\n",
            "You must be logged in",
            "Log in to the cluster",
        ),
        (
            'Error from server (Forbidden): pods is forbidden: User "u" cannot list resource "pods" in API group ""\n',
            'pods is forbidden: User "u" cannot list',
            "kubectl auth can-i --list",
        ),
        (
            'Error from server (Forbidden): pods "night-worker-1" is forbidden: exceeded quota: team\n',
            "exceeded quota: team",
            QUOTA,
        ),
        (
            'Error from server (NotFound): namespaces "x" not found\n',
            'namespaces "x" not found',
            "kubectl create namespace",
        ),
        ("\n", "kubectl ended without a word", "by hand"),
    ],
)
def test_each_error_comes_with_its_remedy(said: str, cause: str, remedy: str) -> None:
    found = told(said)

    assert cause in found.cause
    assert remedy in found.remedy
    assert not found.cause.startswith(("error:", "Error from server"))


def test_a_kind_that_the_cluster_has_not_is_told_whatever_follows() -> None:
    said = 'error: no matches for kind "PyTorchJob" in version "kubeflow.org/v1"\nensure CRDs are installed first\n'

    assert "PyTorchJob" in told(said).cause
    assert "api-resources" in told(said).remedy


@pytest.mark.parametrize(
    ("version", "problem"),
    [
        ('{"clientVersion": {"gitVersion": "v1.37.1"}}', ""),
        ('{"clientVersion": {"gitVersion": "v1.24.0"}}', ""),
        ('{"clientVersion": {"gitVersion": "v1.20.2"}}', "it is v1.20, which is too old: 1.24 is the least"),
        ("hello", "it does not say which version it is"),
    ],
)
def test_which_kubectl_is_new_enough(version: str, problem: str) -> None:
    assert version_problem(version) == problem


def test_a_command_that_failed_is_told_from_a_way_that_is_gone() -> None:
    assert OWN_CODE.search("no run in /workspace\ncommand terminated with exit code 1\n")
    assert not OWN_CODE.search('error: unable to upgrade connection: container not found ("pytorch")')


def kubectl(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Kubectl:
    """One that does what the script says; without one there is none."""
    if script:
        (folder / "kubectl").write_text(f"#!/bin/sh\n{script}\n")
        (folder / "kubectl").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    return Kubectl(KubernetesKeys(context="lab", namespace="team"))


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("", "there is no kubectl on this machine. Install kubectl 1.24 or later"),
        ("""echo '{"clientVersion": {"gitVersion": "v1.20.2"}}'""", "it is v1.20, which is too old: 1.24 is the least"),
    ],
)
def test_kubectl_that_is_absent_or_too_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        asyncio.run(kubectl(tmp_path, monkeypatch, script).check_version())


def test_it_is_called_for_the_cluster_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    echo = kubectl(tmp_path, monkeypatch, 'echo "$@"')

    assert asyncio.run(echo.said("get", "pods")) == "--context=lab --namespace=team get pods\n"
    assert echo.to_paste("get", "a b") == "kubectl --context=lab --namespace=team get 'a b'"


def test_one_that_does_not_come_back_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = kubectl(tmp_path, monkeypatch, "exec /bin/sleep 600")

    with pytest.raises(HostError, match="kubectl get did not end within"):
        asyncio.run(slow.said("get", "pods", timeout_s=0.2))
