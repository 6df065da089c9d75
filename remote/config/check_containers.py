"""What cluster.toml says of containers: which keys go together, on each host as the sections add up for it.

`remote.config.read_hosts` asks when it has read the hosts.

    >>> check_containers(hosts, [(("environment",), {"image": "mine"}), (("defaults",), {}), …], problems)
    >>> problems.lines({})
    ['cluster.toml:4: environment.image: is for containers; add runtime = "docker" or runtime = "podman"']
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from motley.remote.config.problems import Problems
from motley.remote.config.toml_lines import KeyPath
from motley.trainer.devices.names import IMAGE

if TYPE_CHECKING:
    from motley.remote.config.cluster import Host

Section = tuple[KeyPath, Mapping[str, Any]]  # where its keys stand, and those that are in order
OF_CONTAINERS = ("image", "image_from", "dockerfile", "mounts")


def check_containers(hosts: Sequence[Host], sections: Sequence[Section], problems: Problems) -> None:
    """`sections`: what all hosts share, in the order in which the later counts more; then one for each host."""
    shared, own = sections[: len(sections) - len(hosts)], sections[len(sections) - len(hosts) :]
    found: dict[KeyPath, str] = {}
    used: set[KeyPath] = set()  # sections of which a host with containers has something
    for host, mine in zip(hosts, own, strict=True):
        if host.runtime is not None:
            chain = [*shared, mine]
            used.update(path for path, _ in chain)
            unsure = problems.touches(*((*path, "image") for path, _ in chain))
            for place, text in _of_host(host, chain, unsure=unsure):
                found.setdefault(place, text)
    for path, keys in sections:
        if path not in used and "runtime" not in keys:
            for key in OF_CONTAINERS:
                if keys.get(key):
                    place = (*path, key)
                    found[place] = 'is for containers; add runtime = "docker" or runtime = "podman"'
    for path, text in found.items():
        if not problems.touches(path):
            problems.add(path, text)


def _of_host(host: Host, chain: Sequence[Section], *, unsure: bool) -> list[tuple[KeyPath, str]]:
    """What is wrong for one host whose ranks run in containers. `unsure`: an image was named wrongly."""
    found = []
    if not host.image and not host.dockerfile and not unsure:
        example = f'image = "{IMAGE}"'
        found.append((_place(chain, "runtime"), f'needs an image; add {example}, or dockerfile = "Dockerfile"'))
    if host.dockerfile and host.image_from == "master":
        text = "the host builds its image by dockerfile; keep one of the two"
        found.append((_place(chain, "image_from"), text))
    for key in ("packages", "requirements"):
        if getattr(host, key) and not host.dockerfile and _is_as_near(chain, key):
            text = 'is not installed in containers; have an image built that has it: dockerfile = "Dockerfile"'
            found.append((_place(chain, key), text))
    if host.wheels and _is_as_near(chain, "wheels"):
        found.append((_place(chain, "wheels"), "is not for containers; take it out"))
    if host.speed is not None and host.speed < 1:
        text = "is not emulated where ranks run in containers; take it out"
        found.append((_place(chain, "speed"), text))
    return found


def _place(chain: Sequence[Section], key: str) -> KeyPath:
    """Where the key that counts for the host stands."""
    return (*chain[_index(chain, key)][0], key)


def _is_as_near(chain: Sequence[Section], key: str) -> bool:
    """Whether it was given with the runtime in view: not in a section that counts less than the runtime's."""
    return _index(chain, key) >= _index(chain, "runtime")


def _index(chain: Sequence[Section], key: str) -> int:
    return max((index for index, (_, keys) in enumerate(chain) if key in keys), default=0)
