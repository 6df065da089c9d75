"""What cluster.toml says of the training data: which keys of `[data]` go together, and with which task.

`remote.config.load` asks when it checks the file; `remote.provision.data` and the hosts look at the folders.

>>> check_data(cluster, table, problems)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from motley.remote.config import value_rules
from motley.remote.config.check_script import RUN_PROGRAMS
from motley.remote.config.cluster import Cluster
from motley.remote.config.problems import Problems
from motley.remote.config.schema import shown
from motley.trainer.contract.task_name import IMAGE_FOLDER


def check_data(cluster: Cluster, table: Mapping[str, Any], problems: Problems) -> None:
    """Everything about `[data]` that the file alone can tell."""
    if cluster.data.push is not None:
        if cluster.data.path is not None:
            problems.add(("data", "push"), "path is given too; keep one of them")
        if problem := value_rules.path_problem(cluster.data.push):
            problems.add(("data", "push"), f"{shown(cluster.data.push)} {problem}")
    if cluster.run.program is not None or problems.touches(("run", "task"), *RUN_PROGRAMS):
        return
    section = table.get("data")
    given = section if isinstance(section, dict) else {}
    if cluster.dataset == IMAGE_FOLDER:
        if not (cluster.data.push or cluster.data.path) and not problems.touches(("data",)):
            text = f'{IMAGE_FOLDER} is a folder of yours; name it in [data]: push = "photos" brings it to every host'
            problems.add(("run", "task"), f"{text}, path names one that is there")
    elif "image_size" in given:
        problems.add(
            ("data", "image_size"), f'is for the data set {IMAGE_FOLDER}, as in task = "resnet18/{IMAGE_FOLDER}"'
        )
