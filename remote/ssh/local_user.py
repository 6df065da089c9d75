"""The name of whoever runs this process: in a container it may have none.

>>> local_user()
'alex'
"""

from __future__ import annotations

import getpass
import os


def local_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        return f"uid{os.getuid()}"


def name_the_user() -> None:
    """asyncssh asks for the local user's name and fails where there is none."""
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["LOGNAME"] = local_user()
