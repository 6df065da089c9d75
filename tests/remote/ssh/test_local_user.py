"""In a container whose user has no name there is one all the same."""

from __future__ import annotations

import getpass
import os
import pwd

import pytest

from motley.remote.ssh.local_user import local_user, name_the_user

VARIABLES = ("LOGNAME", "USER", "LNAME", "USERNAME")


def test_who_has_no_name_is_called_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(uid: int) -> pwd.struct_passwd:
        raise KeyError(uid)

    for name in VARIABLES:
        monkeypatch.setenv(name, "")  # as if it was not there; put back afterwards
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    assert local_user() == f"uid{os.getuid()}"
    name_the_user()
    assert getpass.getuser() == f"uid{os.getuid()}"


def test_who_has_a_name_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "alex")
    name_the_user()
    assert local_user() == os.environ["LOGNAME"] == "alex"
