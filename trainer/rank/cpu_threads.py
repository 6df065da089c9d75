"""How many threads a rank on a CPU computes with: given, known from a profile, or tried in its first steps.

>>> threads = threads_of(spec, member, device, folder, journal)       # and so many are in place
>>> threads.count, threads.over
(2, False)

What cluster.toml, the user's own OMP_NUM_THREADS or a script's torch.set_num_threads says holds; so does what was found
before in this run, should the rank's process be a new one.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from motley.profiles.cores import physical_cores, usable_cores
from motley.profiles.thread_counts import candidates, words
from motley.trainer.balance.thread_trial import ThreadTrial
from motley.trainer.contract.spec import Member, Spec
from motley.trainer.devices.names import is_gpu
from motley.trainer.host import rank_environment
from motley.trainer.host.journal import Journal


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What may say how many threads a rank is to have; None where it says nothing."""

    asked: int | None  # by [run] threads
    environment: int  # OMP_NUM_THREADS, which is ours or the user's own
    ours: int  # what it is without the user
    in_env: bool  # the user's `env` of the host has it
    found: int | None  # by a process of this rank before, in this run
    profile: int | None
    profiled: bool  # its cost was measured, whether or not several counts were tried
    emulated: bool  # its speed is that of one thread's clock
    set_by_script: int | None = None  # with torch.set_num_threads, before it called motley.session()


def decide(known: Known, counts: tuple[int, ...]) -> tuple[int, ...]:
    """The one count to have; or, where nothing says it, those to try.

    >>> decide(known, (1, 8, 16))
    (8,)
    """
    if known.asked or known.set_by_script:
        return (known.asked or known.set_by_script or 1,)
    if known.in_env or known.emulated or known.environment != known.ours:
        return (known.environment,)
    if known.found or known.profile:
        return (known.found or known.profile or 1,)
    return (known.environment,) if known.profiled else counts


def threads_of(
    spec: Spec, member: Member, device: torch.device, folder: Path, journal: Journal, *, session: bool = False
) -> ThreadTrial:
    """Puts them in place; what is found by trying is journalled as an event `threads`, and kept for this run.

    `session`: in the process of a script, which may have set a number of its own."""
    if is_gpu(str(device)):
        return ThreadTrial.without(0)
    ranks, path = len(spec.local_members), folder / f"threads_{member.member}"
    ours = rank_environment.threads_of_a_rank(ranks)
    environment = _number(os.environ.get("OMP_NUM_THREADS", "")) or ours
    in_place = torch.get_num_threads()
    known = Known(
        asked=spec.options.threads,
        environment=environment,
        ours=ours,
        in_env="OMP_NUM_THREADS" in spec.env,
        found=_found(path),
        profile=member.threads,
        profiled=member.a_ms is not None,
        emulated=spec.emulated,
        set_by_script=in_place if session and in_place != environment else None,
    )
    counts = decide(known, candidates(usable_cores(), cores=physical_cores(), ranks=ranks))
    name = f"{spec.host}:{member.local_rank}" if ranks > 1 else spec.host

    def told(found: Mapping[int, float], kept: int) -> None:
        with contextlib.suppress(OSError):  # a disk that is full: a new process would try again
            path.write_text(f"{kept}\n")
        table = {str(count): round(rate, 1) for count, rate in found.items()}
        journal.write("threads", words(name, found, kept), member=member.member, threads=kept, samples_per_s=table)

    torch.set_num_threads(counts[-1])
    return ThreadTrial(counts, apply=torch.set_num_threads, told=told)


def _number(text: str) -> int | None:
    """OMP_NUM_THREADS may be a list, one number a level: the first holds for us."""
    first = text.partition(",")[0].strip()
    return int(first) if first.isdecimal() and int(first) > 0 else None


def _found(path: Path) -> int | None:
    try:
        return _number(path.read_text())
    except OSError:
        return None
