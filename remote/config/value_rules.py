"""What names, addresses and devices may look like: each rule takes a value and says what is wrong with it, or None.

`remote.config.sections` hangs them on the keys of cluster.toml; `remote.config.load` asks them for the names of runs.

    >>> name_problem("-box")
    'must begin with a letter, a digit or _'
    >>> address_problem("alex@box1")
    'has a user in it; write address = "box1" and user = "alex"'
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from motley.trainer.contract import mount
from motley.trainer.devices.names import CPU, IMAGE, cards_of, examples, is_name, numbered, one_kind, together

NAME_CHARS = 63
PACKAGES = ("llm",)  # lists that come with Motley: `remote.provision.package_list`
LABEL_CHARS = 63  # of what becomes part of a DNS name
_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(Ki|Mi|Gi|Ti|Pi|Ei|m|k|M|G|T|P|E)?")
OWN_OPTIONS = (
    "--nodes", "-N", "--ntasks", "-n", "--ntasks-per-node", "--job-name", "-J", "--partition", "-p", "--array", "-a",
    "--no-kill", "-k", "--wrap", "--export", "--signal", "--requeue", "--no-requeue",
)  # fmt: skip
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def name_problem(name: str) -> str | None:
    """Names of clusters, hosts and runs are folder names on every machine, so they are kept plain."""
    if not name:
        return "is empty"
    if len(name) > NAME_CHARS:
        return f"has {len(name)} characters; {NAME_CHARS} is the most"
    odd = re.search(r"[^A-Za-z0-9._-]", name)
    if odd:
        return f"holds {_char(odd.group())}; use letters, digits and . _ -"
    if name[0] in "-.":
        return "must begin with a letter, a digit or _"
    return None


def valid_name(text: str) -> str:
    """The nearest valid name, for the folder a cluster.toml lies in: `My models!` -> `My-models`."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).lstrip("-.")[:NAME_CHARS].rstrip("-.") or "cluster"


def address_problem(address: str) -> str | None:
    """A host name, a name from ~/.ssh/config, or a numeric address, and nothing around it."""
    if not address:
        return "is empty; leave the key out to use the host's name"
    if "://" in address:
        return 'is a URL; write only the host\'s name or number, such as "192.168.1.20"'
    if "@" in address:
        user, _, rest = address.rpartition("@")
        return f"has a user in it; write address = {json.dumps(rest)} and user = {json.dumps(user)}"
    if address.startswith("["):
        return "is written without brackets"
    if re.fullmatch(r"[^:]+:[0-9]+", address):
        host, _, port = address.partition(":")
        return f"has a port in it; write address = {json.dumps(host)} and port = {port}"
    if address.startswith("-"):
        return "must not begin with -"
    odd = next((c for c in address if not (c.isalnum() or c in "._:%-")), None)
    if odd is not None:
        return f"holds {_char(odd)}, which no address has"
    if len(address) > 253:
        return f"has {len(address)} characters; 253 is the most"
    return None


def jump_problem(jump: str) -> str | None:
    """One or more hops as in ssh's ProxyJump: `[user@]address[:port]`, commas between them."""
    for hop in jump.split(","):
        user, at, rest = hop.rpartition("@")
        bracketed = re.fullmatch(r"\[([^\[\]]*)\](?::[0-9]+)?", rest)
        address = bracketed.group(1) if bracketed else re.sub(r"^([^:]+):[0-9]+$", r"\1", rest)
        problem = address_problem(address) or (user_problem(user) if at else None)
        if problem:
            return f"must read [user@]address[:port], with commas between hops; {json.dumps(hop)} {problem}"
    return None


def user_problem(user: str) -> str | None:
    if not user:
        return "is empty; leave the key out to use the user of ~/.ssh/config"
    if user.startswith("-"):
        return "must not begin with -"
    odd = next((c for c in user if c.isspace() or not c.isprintable() or c in "@:/"), None)
    return None if odd is None else f"holds {_char(odd)}, which no user name has"


def path_problem(path: str) -> str | None:
    """A path or command, here or on a host, that is handed on as one word."""
    if not path.strip():
        return "is empty; leave the key out instead"
    if path.startswith("-"):
        return "must not begin with -"
    odd = next((c for c in path if not c.isprintable()), None)
    return None if odd is None else f"holds {_char(odd)}"


def optional_path_problem(path: str) -> str | None:
    """The same, where an empty one says that there is none."""
    return path_problem(path) if path else None


def packages_problem(name: str) -> str | None:
    """The name of a list of packages."""
    return None if name in PACKAGES else f"is no list of packages; there is {' or '.join(map(json.dumps, PACKAGES))}"


def optional_packages_problem(name: str) -> str | None:
    """The same, where an empty one says that there is none."""
    return packages_problem(name) if name else None


def mounts_problem(mounts: Sequence[str]) -> str | None:
    """Folders for containers, no two of them at one place inside."""
    places = set()
    for text in mounts:
        try:
            place = mount.parse(text).target
        except ValueError as error:
            return f"has {json.dumps(text)}; {error}"
        if place in places:
            return f"has two folders at {place}; name another place inside for one: {text.split(':')[0]}:/other"
        places.add(place)
    return None


def image_problem(image: str) -> str | None:
    """The name of a container image, as `docker run` takes it. Whether there is one is another question."""
    if not image:
        return "is empty; leave the key out instead"
    if "//" in image:
        return f'is a URL; write only the name, such as "{IMAGE}"'
    if not image[0].isascii() or not image[0].isalnum():
        return "must begin with a letter or a digit"
    odd = next((c for c in image if not (c.isascii() and c.isalnum()) and c not in "._-/:@"), None)
    return None if odd is None else f"holds {_char(odd)}, which no name of an image has"


def label_problem(name: str) -> str | None:
    """A DNS-1035 label, which Kubernetes wants names to be that become part of an address."""
    if len(name) > LABEL_CHARS:
        return f"has {len(name)} characters; {LABEL_CHARS} is the most in Kubernetes"
    if _LABEL.fullmatch(name):
        return None
    rule = "is no name for Kubernetes, which takes small letters, digits and -, a letter first"
    return f"{rule}; {json.dumps(nearest_label(name))} is one"


def nearest_label(name: str) -> str:
    """A DNS-1035 label of it, as long as it is: `My.Models` -> `my-models`, `4-cards` -> `run-4-cards`."""
    label = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return label if label[:1].isalpha() else f"run-{label}".rstrip("-")


def quantity_problem(text: str) -> str | None:
    """An amount as Kubernetes writes it, of memory or disk."""
    if not _QUANTITY.fullmatch(text):
        return 'is no amount; write one such as "16Gi" or "500Mi"'
    return None if float(re.sub(r"[A-Za-z]+$", "", text)) > 0 else "must be above 0"


def subdomain_problem(name: str) -> str | None:
    """The name of a thing in Kubernetes that is no part of an address: labels, with dots between them."""
    parts = name.split(".")
    fits = len(name) <= 253 and all(re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", part) for part in parts)
    return None if fits else "is no name of Kubernetes, which takes small letters, digits, - and ."


def resource_problem(name: str) -> str | None:
    """Under which name a cluster counts its GPUs."""
    if re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?", name):
        return None
    return 'is no name of a resource, such as "nvidia.com/gpu" or "amd.com/gpu"'


def interface_problem(name: str) -> str | None:
    """A network interface, or the beginning of its name."""
    return None if re.fullmatch(r"[A-Za-z0-9_.-]{1,15}", name) else 'is no interface; write one such as "eth0"'


def node_selector_problem(labels: dict[str, Any]) -> str | None:
    """Labels of nodes and their values."""
    for name, value in labels.items():
        key, text = name.rpartition("/")[2], str(value)
        for what in (key, text):
            if not re.fullmatch(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?", what) or not key:
                return f"has {json.dumps(name)} = {json.dumps(text)}, which is no label of a node"
    return None


def devices_problem(devices: str | Sequence[str | int | tuple[str | int, ...]]) -> str | None:
    if devices == "auto":
        return None
    if not devices:
        return 'is empty; "auto" takes what is there'
    seen = set()
    for listed in devices:
        if listed == ():
            return "has an empty list in it; name the cards that are one rank, or leave it out"
        for device in _cards(listed):
            if not is_name(device):
                return f"has {json.dumps(device)}; a device is {examples()} or the number of a GPU"
            if device in seen and device != CPU:
                return f"has {device} twice; one rank uses a GPU at a time"
            seen.add(device)
        if isinstance(listed, tuple) and not one_kind(_cards(listed)):
            return f"has {' and '.join(_cards(listed))} in one list; what is one rank together are GPUs of one kind"
    return None


def device_name(device: str | int | tuple[str | int, ...]) -> str:
    """The number of a GPU is short for its full name: 1 -> `cuda:1`. Those of a list are one: `cuda:0+1`."""
    return together(_cards(device))


def _cards(listed: str | int | tuple[str | int, ...]) -> tuple[str, ...]:
    named = [
        numbered(one) if isinstance(one, int) else one for one in (listed if isinstance(listed, tuple) else (listed,))
    ]
    return tuple(card for one in named for card in (cards_of(one) if is_name(one) else (one,)))


def env_problem(env: dict[str, Any]) -> str | None:
    """Names as a shell takes them; values without a NUL, which no environment can hold."""
    problem = variables_problem(list(env))
    if problem:
        return problem
    name = next((name for name, value in env.items() if "\0" in str(value)), None)
    return None if name is None else f"has a NUL character in the value of {name}"


def variables_problem(names: Sequence[str]) -> str | None:
    for name in names:
        if not _VARIABLE.fullmatch(name):
            return f"has {json.dumps(name)}; a variable's name is letters, digits and _, not beginning with a digit"
        if name.startswith("MOTLEY_"):
            return f"has {name}; names that begin with MOTLEY_ are set by Motley itself"
    return None


def _char(char: str) -> str:
    return "a space" if char == " " else f'"{char}"' if char.isprintable() else f"the character U+{ord(char):04X}"


def context_problem(text: str) -> str | None:
    """A context of kubectl's: it stands on its command line."""
    if not text:
        return "is empty; leave the key out"
    odd = re.search(r"[\x00-\x1f\x7f]", text)
    return f"holds {_char(odd.group())}" if odd else "must not begin with -" if text.startswith("-") else None


def slurm_problem(text: str) -> str | None:
    """One word of an option of sbatch's: it stands in a line of a script."""
    if not text:
        return "is empty; leave the key out"
    odd = re.search(r"[^\w.,:+@%/=\[\]-]", text, re.ASCII)
    if odd:
        return f"holds {_char(odd.group())}, which is in no such name of Slurm's"
    return "must not begin with -" if text.startswith("-") else None


def sbatch_problem(options: Sequence[str]) -> str | None:
    """Each a whole option; those that Motley sets itself are refused."""
    for option in options:
        name = option.partition("=")[0]
        if not re.fullmatch(r"--[a-z][a-z-]*(=[^\s\x00-\x1f]+)?|-[A-Za-z][^\s\x00-\x1f]*", option):
            return f'has {json.dumps(option)}, which is no option in one word, such as "--gres=gpu:1"'
        if (name if option.startswith("--") else option[:2]) in OWN_OPTIONS:
            return f"has {json.dumps(name)}, which Motley sets itself"
    return None
