"""What all pods of a run are told alike: a file that `motley export kubernetes` writes into the manifest.

It holds the run's `Spec` without what each pod says itself (its host, the leader's address) and without the token,
which is a Secret. `spec_of` puts them together. Standard library only.

    >>> description = Description.from_json(text)
    >>> description.hosts
    ('gpu', 'cpu')
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from motley.trainer.contract.spec import PROTOCOL, Spec, table_of
from motley.trainer.light_dataclass import light_dataclass


@light_dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """`spec` has no host, no address and no token. `trees`: what lies beside the file as <hash>.tar.gz, and is the
    user's project or the data; `data_tree`: which of them is the data. `stays_s`: how long a pod stays when the run has
    ended and nobody reads what is there; above 0 a console is about, which names another leader when the first is gone:
    `pods` are the names under which all of them are found, by their numbers."""

    spec: Spec
    hosts: tuple[str, ...]  # by the numbers of their pods; the first one leads
    trees: tuple[str, ...] = ()
    data_tree: str = ""
    stays_s: float = 0.0
    pods: tuple[str, ...] = ()

    def to_json(self) -> str:
        """To be read by people, too."""
        table = {"protocol": PROTOCOL, **dataclasses.asdict(self)}
        members = [{key: value for key, value in m.items() if value is not None} for m in table["spec"]["members"]]
        table["spec"]["members"] = members
        return _lines(table)

    def with_data(self, folder: str) -> Description:
        """The same, whose data is there."""
        data = dataclasses.replace(self.spec.data, path=folder, push=None)
        return dataclasses.replace(self, spec=dataclasses.replace(self.spec, data=data))

    @classmethod
    def from_json(cls, text: str | bytes) -> Description:
        """Raises ValueError, KeyError or TypeError when it is none of this version of Motley."""
        table: dict[str, Any] = table_of(text, "description of a run")
        spec = Spec.from_json(json.dumps({"protocol": PROTOCOL, **table["spec"]}))
        return cls(
            spec=spec,
            hosts=tuple(map(str, table["hosts"])),
            trees=tuple(map(str, table["trees"])),
            data_tree=str(table["data_tree"]),
            stays_s=float(table.get("stays_s", 0.0)),
            pods=tuple(map(str, table.get("pods", ()))),
        )


def _lines(value: Any, depth: int = 0) -> str:
    """JSON with a line for each option, and for each rank."""
    if not isinstance(value, dict) or depth > 1:
        several = isinstance(value, list) and value and isinstance(value[0], dict)
        between = ",\n" + " " * (depth + 1)
        return f"[{between[1:]}{between.join(map(json.dumps, value))}]" if several else json.dumps(value)
    pad = " " * (depth + 1)
    inner = ",\n".join(f"{pad}{json.dumps(key)}: {_lines(item, depth + 1)}" for key, item in value.items())
    return f"{{\n{inner}\n{' ' * depth}}}"


def spec_of(
    description: Description, host: str, *, leader: str, address: str, token: str, resume: tuple[str, str], python: str
) -> Spec:
    """The spec of one pod. `leader`, and its numeric `address`: of the pod that leads now. `resume`: a checkpoint
    to go on from and the attempt or run that has left it, both empty without one.

    A pod that does not lead begins with the state of the others: it can't know whether the run is on already, because
    another pod had its place before.
    """
    folder, of = resume
    return dataclasses.replace(
        description.spec, host=host, leader=leader, leader_address=address, token=token, joins=host != leader,
        python=python, resume=folder or None, resume_of=of,
    )  # fmt: skip
