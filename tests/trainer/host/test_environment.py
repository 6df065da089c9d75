"""What a rank finds in its environment."""

from __future__ import annotations

import subprocess
import sys

import pytest

from motley.trainer.host import rank_environment


def test_cores_are_divided_among_the_ranks_of_a_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(rank_environment, "usable_cores", lambda: 6.5)

    def threads(**given: int | bool | None) -> str:
        asked = {"threads": None, "local_ranks": 1, "emulated": False, **given}
        return rank_environment.of_rank({}, **asked)["OMP_NUM_THREADS"]  # type: ignore[arg-type]

    assert [threads(local_ranks=n) for n in (1, 2, 8)] == ["6", "3", "1"]
    assert threads(emulated=True) == "1"
    assert threads(threads=4, local_ranks=2) == "4"


def test_what_the_user_has_set_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    given = {"MALLOC_TRIM_THRESHOLD_": "1", "HF_HOME": "/data"}
    env = rank_environment.of_rank(given, threads=8, local_ranks=1, emulated=False)
    assert (env["OMP_NUM_THREADS"], env["MALLOC_TRIM_THRESHOLD_"], env["HF_HOME"]) == ("3", "1", "/data")


@pytest.mark.parametrize(
    ("cores", "theirs", "waits"),
    [
        (8.0, {}, None),  # nothing is known to be rationed
        (2.5, {}, "PASSIVE"),
        (2.5, {"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE"),
        (2.5, {"GOMP_SPINCOUNT": "1000"}, None),
    ],
)
def test_threads_that_wait_spend_no_rationed_time(
    cores: float, theirs: dict[str, str], waits: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(rank_environment, "usable_cores", lambda: cores)
    monkeypatch.setattr(rank_environment, "affinity", lambda: 8)
    env = rank_environment.of_rank(theirs, threads=None, local_ranks=1, emulated=False)
    assert env.get("OMP_WAIT_POLICY") == waits


@pytest.mark.skipif(sys.platform != "linux", reason="it is glibc that reads these variables")
@pytest.mark.parametrize("forked", [False, True])
def test_memory_that_was_freed_is_kept_and_need_not_be_cleared_again(forked: bool) -> None:
    """Page faults of filling a block of 16 MiB again and again, in a process with a rank's environment, from its start
    or since a fork."""
    own = rank_environment.of_rank({}, threads=1, local_ranks=1, emulated=False)
    kept = {name: own[name] for name in rank_environment.KEEP_MEMORY}
    program = (
        "import os, resource\n"
        "from motley.trainer.host import rank_environment\n"
        f"if {forked}:\n    os.environ |= {kept}\n    rank_environment.keep_memory()\n"
        "def faults():\n    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "for _ in range(3):\n    bytearray(16 << 20)\n"
        "before = faults()\n"
        "for _ in range(20):\n    block = bytearray(b'x') * (16 << 20)\n    del block\n"
        "print(faults() - before)\n"
    )
    env = {name: value for name, value in own.items() if not (forked and name in kept)}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 16 * 2**20 // 4096 * 4  # each of the 20 would need 4,096
