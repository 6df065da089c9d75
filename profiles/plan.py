"""What to train with: predicted throughput for subsets of the hosts, batch sizes and compression, and the advice.

`motley plan` prints it from stored profiles, nothing is measured or connected to:

    >>> plan = make_plan(candidates, global_batch=256, gradient_bytes=25_000_000)
    >>> plan.options[0].hosts, plan.advice[0]
    (('box1',), 'leave out box3: with it 196 samples/s, without it 254; at a global batch of 2048 it pays')

Options are sorted by samples a second. The advice is for the global batch as configured: a larger one is faster on any
network, but changes what is learned, so it is mentioned and not recommended.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from motley.profiles.predict import Candidate, Compress, Prediction, Together, predict
from motley.profiles.split_solver import SplitError

FACTORS = (1, 2, 4, 8)  # of the global batch
COMPRESS: tuple[Compress, ...] = ("none", "fp16")
EXHAUSTIVE = 8  # hosts up to which every subset is looked at
ALIKE = 1.25  # links whose times differ by less are not told apart, where there are more hosts
SHOWN = 6  # subsets for each global batch and compression, besides all hosts and each alone
WORTH, WORTH_COMPRESSING, WORTH_A_BATCH, WORTH_A_WORD = 1.02, 1.05, 1.15, 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One way to train."""

    hosts: tuple[str, ...]
    global_batch: int
    compress: Compress
    prediction: Prediction

    @property
    def samples_per_s(self) -> float:
        return self.prediction.samples_per_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`options` fastest first; `take` is the one of the configured global batch to choose, without compression."""

    options: tuple[Option, ...]
    take: Option
    advice: tuple[str, ...]


def make_plan(
    candidates: Sequence[Candidate],
    global_batch: int,
    gradient_bytes: int,
    together: Together = Together(),  # noqa: B008 - it never changes
    *,
    loop: bool = False,
) -> Plan:
    """`loop`: of the user's own, which sends its gradients as they are.

    Raises SplitError when no subset of the hosts has room for the global batch, ValueError without candidates.
    """
    if not candidates:
        raise ValueError("there is no profile to plan with")
    together = replace(together, overlap=not loop)
    found = {
        (batch, compress): _options(candidates, batch, gradient_bytes, compress, together)
        for batch in (global_batch * factor for factor in FACTORS)
        for compress in COMPRESS
        if compress == "none" or not loop
    }
    plain = found[global_batch, "none"]
    if not plain:
        predict(candidates, global_batch, gradient_bytes)  # says what is lacking
        raise SplitError(f"no hosts have room for a global batch of {global_batch}")
    everybody = _hosts(candidates)
    best = plain[0]
    full = next((o for o in plain if o.hosts == everybody), None)
    take = full if full and best.samples_per_s < WORTH * full.samples_per_s else best
    shown = [option for options in found.values() for option in _worth_showing(options, everybody)]
    advice = (
        *_about_hosts(take, full, plain, found, everybody),
        *_about_compressing(take, found.get((global_batch, "fp16"), [])),
        *_about_sending(take, candidates, gradient_bytes),
        *_about_batch(take, found),
    )
    return Plan(options=tuple(sorted(shown, key=lambda o: -o.samples_per_s)), take=take, advice=advice)


_Found = dict[tuple[int, Compress], list[Option]]


def subsets(
    hosts: Sequence[str], speeds: Mapping[str, float], sending: Mapping[str, float]
) -> Iterator[tuple[str, ...]]:
    """Every subset of few hosts. Of many: all, all but one, each alone, and the fastest 2, 3, … within a limit.

    A ring is as slow as its worst link, so a limit is one on `sending`, the time a host's own link takes. Taking hosts
    out one by one would not do: while two are behind slow links, leaving out either of them gains nothing.
    """
    if len(hosts) <= EXHAUSTIVE:
        for count in range(len(hosts), 0, -1):
            yield from itertools.combinations(hosts, count)
        return
    few = {tuple(hosts), *((h,) for h in hosts)}
    few |= {tuple(h for h in hosts if h != left) for left in hosts}
    for limit in _limits(sending.values()):
        fastest = sorted((h for h in hosts if sending[h] <= limit), key=lambda h: -speeds[h])
        few |= {tuple(h for h in hosts if h in fastest[:count]) for count in range(2, len(fastest) + 1)}
    yield from sorted(few, key=lambda s: (-len(s), s))


def _limits(sending: Iterable[float]) -> list[float]:
    """The longest time of each group of links that are alike."""
    limits: list[float] = []
    start = 0.0
    for ms in sorted(sending):
        if limits and ms <= start * ALIKE:
            limits[-1] = ms
        else:
            limits.append(ms)
            start = ms
    return limits


def _options(
    candidates: Sequence[Candidate], batch: int, gradient_bytes: int, compress: Compress, together: Together
) -> list[Option]:
    """Of every subset that has room, fastest first; of equally fast ones, that with fewer hosts."""
    speeds: dict[str, float] = {}
    sending: dict[str, float] = {}
    for c in candidates:
        speeds[c.host] = speeds.get(c.host, 0.0) + 1 / c.step_line.at(batch / len(candidates)).ms
        sending[c.host] = _sending_ms(c, gradient_bytes)
    options = []
    for hosts in subsets(_hosts(candidates), speeds, sending):
        if compress != "none" and len(hosts) == 1:
            continue  # nothing is sent
        try:
            prediction = predict([c for c in candidates if c.host in hosts], batch, gradient_bytes, compress, together)
        except SplitError:
            continue
        options.append(Option(hosts=hosts, global_batch=batch, compress=compress, prediction=prediction))
    return sorted(options, key=lambda o: (-o.samples_per_s, len(o.hosts)))


def _worth_showing(options: Sequence[Option], everybody: tuple[str, ...]) -> Iterable[Option]:
    always = [o for o in options[SHOWN:] if o.hosts == everybody or len(o.hosts) == 1]
    return [*options[:SHOWN], *always]


def _about_hosts(
    take: Option, full: Option | None, plain: Sequence[Option], found: _Found, everybody: tuple[str, ...]
) -> Iterator[str]:
    left = [h for h in everybody if h not in take.hosts]
    if left and full is not None:
        text = f"leave out {_and(left)}: with {_it(left)} {_rate(full)} samples/s, without {_it(left)} {_rate(take)}"
        for (batch, compress), options in found.items():
            larger = options and compress == "none" and batch > take.global_batch
            if larger and options[0].hosts == everybody:
                text += f"; at a global batch of {batch} {'it pays' if len(left) == 1 else 'they pay'}"
                break
        yield text
    elif left:
        yield f"take {_and(take.hosts)}: {_rate(take)} samples/s"
    elif len(everybody) > 1:
        alone = max((o for o in plain if len(o.hosts) == 1), key=lambda o: o.samples_per_s, default=None)
        text = f"take all {len(everybody)} hosts: {_rate(take)} samples/s"
        if alone is not None:
            times = take.samples_per_s / alone.samples_per_s
            text += f", {times:.1f} times the fastest alone ({alone.hosts[0]}, {_rate(alone)})"
        yield text


def _about_compressing(take: Option, compressed: Sequence[Option]) -> Iterator[str]:
    """With the hosts to take, unless it makes others worth taking that are faster still."""
    if not compressed or compressed[0].samples_per_s <= WORTH_COMPRESSING * take.samples_per_s:
        return
    best = compressed[0]
    same = next((o for o in compressed if o.hosts == take.hosts), None)
    if same is not None and best.samples_per_s < WORTH * same.samples_per_s:
        best = same
    who = "" if best.hosts == take.hosts else f" with {_and(best.hosts)}"
    yield f'compress = "fp16"{who} gives {_rate(best)} samples/s instead of {_rate(take)}'


def _about_sending(take: Option, candidates: Sequence[Candidate], gradient_bytes: int) -> Iterator[str]:
    if take.prediction.sending_ms <= WORTH_A_WORD * take.prediction.step_ms:
        return
    members = [c for c in candidates if c.host in take.hosts]
    slowest = max(members, key=lambda c: _sending_ms(c, gradient_bytes))
    if slowest.link is not None:
        latency = f" and {slowest.link.latency_ms:,.0f} ms" if slowest.link.latency_ms >= 1 else ""
        yield (
            f"{slowest.host}'s link of {slowest.link.mbit:,.0f} Mbit/s{latency}: sending gradients of "
            f"{gradient_bytes / 1e6:.1f} MB takes {take.prediction.sending_ms:,.0f} ms of a step of "
            f"{take.prediction.step_ms:,.0f} ms"
        )


def _sending_ms(candidate: Candidate, gradient_bytes: int) -> float:
    """What a candidate's own link takes for all gradients; nothing on the leader."""
    link = candidate.link
    return 0.0 if link is None else gradient_bytes * 8 / (link.mbit * 1000) + link.latency_ms


def _about_batch(take: Option, found: _Found) -> Iterator[str]:
    """The first larger batch that would pay well."""
    for (batch, compress), options in found.items():
        if batch > take.global_batch and compress == "none" and options:
            times = options[0].samples_per_s / take.samples_per_s
            if times > WORTH_A_BATCH:
                rate = f"{_rate(options[0])} samples/s, {times:.1f} times as many"
                yield f"global_batch = {batch} would give {rate}; it changes what is learned"
                return


def _hosts(candidates: Sequence[Candidate]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(c.host for c in candidates))


def _rate(option: Option) -> str:
    return f"{option.samples_per_s:,.0f}"


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _it(names: Sequence[str]) -> str:
    return "it" if len(names) == 1 else "them"
