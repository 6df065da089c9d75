"""Lists of packages that come with Motley, each with all that it needs, in versions and by hashes: `[environment]
packages`.

`.ci/make-lock` makes them, together with requirements.lock. torch is in none of them. What a folder of wheels needs:

    python -m motley.remote.provision.package_list llm >llm.txt
    pip download --no-deps -r llm.txt -d wheels
"""

from __future__ import annotations

import sys
from importlib import resources


def text_of(name: str) -> str:
    """The list as pip reads it. `name`: one of `remote.config.value_rules.PACKAGES`."""
    folder = resources.files("motley.remote.provision") / "package_lists"
    return (folder / f"{name}.txt").read_text("utf-8")


if __name__ == "__main__":
    sys.stdout.write(text_of(*sys.argv[1:]))
