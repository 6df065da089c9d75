"""Whatever text of a cluster.toml or of a host gets into a command line reaches its program as one word, unchanged.

The shells are real: `sh` for every case, and the login shells that are there for those that fit them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from motley.remote.config.cluster import Host
from motley.remote.quoting import pasteable
from motley.remote.rpc.verbs import supervise_argv
from motley.remote.ssh.shell import MARK, login_line, there
from tests.fuzz.mutation import cases

SPECIAL = "'\"\\$`!*?~[]{}()<>|&;#=%^@:,+-_ \t\x07\x1b\x7fé\u2028\u202e\U0001f600"
CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0") | st.sampled_from(SPECIAL)
HARD = [
    *("$(id)", "`id`", "${HOME}", "$HOME", "~", "~/", "~root", "-", "--", "-n", "-e", "-c", "--help", "\\n", "\\"),
    *("a b", " ", "", "it's", '"', "!", "!!", "!x", "x!", "^a^b", "a=b", "{a,b}", "[a]", "*", "?", "#", "a#b", ">x"),
    *("a\\", "\\'", "'\\''", "$'a'", '$"a"', "`", "$", "$$", "&&", ";", "|", "(", ")", "<<x", "\\!", "'!", "@", "%1"),
]
WORD = st.sampled_from(HARD) | st.text(CHARACTERS, max_size=10)
ONE_LINE = WORD.filter(lambda word: not set(word) & {"\n", "\r"})
SHELLS = [name for name in ("bash", "zsh", "fish", "csh", "tcsh", "dash") if shutil.which(name)]


def said_by(shell: str, line: str, home: Path, **more: str) -> str:
    """The output of a command line; what it says of an error is a failure."""
    environ = {"HOME": str(home), "PATH": f"{home / 'bin'}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8", **more}
    done = subprocess.run([shell, "-c", line], env=environ, cwd="/", capture_output=True, timeout=20, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode()


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with an `ssh` that runs what it is asked to run as sshd would, and prints its other words before."""
    home = tmp_path_factory.mktemp("home of one's own")
    (home / "bin").mkdir()
    ssh = home / "bin" / "ssh"
    ssh.write_text('#!/bin/sh\nwhile [ $# -gt 1 ]; do printf "%s\\0" "$1"; shift; done\nexec sh -c "$1"\n')
    ssh.chmod(0o755)
    return home


def expected(words: list[str], home: Path) -> list[str]:
    """`~/` stays the user's shell's."""
    return [f"{home}/{word[2:]}" if word.startswith("~/") and len(word) > 2 else word for word in words]


@cases(50)
@given(st.lists(ONE_LINE, max_size=20))
def test_words_of_a_command_on_a_host(own: Path, words: list[str]) -> None:
    line = login_line(["printf", r"%s\0", *words, "end"])
    assert said_by("sh", line, own) == f"{MARK}\n" + "".join(f"{word}\0" for word in [*words, "end"])


@pytest.mark.parametrize("shell", SHELLS)
@cases(10)
@given(words=st.lists(ONE_LINE, max_size=20))
def test_words_of_a_command_on_a_host_with_another_login_shell(own: Path, shell: str, words: list[str]) -> None:
    line = login_line(["printf", r"%s\0", *words, "end"])
    assert said_by(shell, line, own) == f"{MARK}\n" + "".join(f"{word}\0" for word in [*words, "end"])


@given(st.lists(WORD, max_size=20))
def test_a_command_with_a_line_break_is_not_given_at_all(words: list[str]) -> None:
    """csh can't carry one: whoever gives such a word hears of it, and no half of it runs."""
    if any(set(word) & {"\n", "\r", "\0"} for word in words):
        with pytest.raises(ValueError, match="line break"):
            login_line(["printf", *words])
    else:
        assert "\n" not in login_line(["printf", *words])


NAME = ONE_LINE.filter(lambda name: name not in ("", ".", "..") and "/" not in name and len(name.encode()) < 200)


@cases(15)
@given(NAME, NAME)
def test_programs_and_folders_of_any_name(own: Path, name: str, folder: str) -> None:
    assume(name != folder)
    place = own / "places" / folder
    place.mkdir(parents=True)
    program = place / name
    program.symlink_to("/usr/bin/printf")
    try:
        for first in (str(program), f"~/places/{folder}/{name}"):
            assert said_by("sh", login_line([first, "%s", "-x"]), own) == f"{MARK}\n-x"
            if "=" not in name + folder:  # env takes such a word for a variable, wherever it stands
                assert said_by("sh", login_line(["env", "A=~/b", first, "%s", "-x"]), own) == f"{MARK}\n-x"
        for cwd in (str(place), f"places/{folder}", f"~/places/{folder}"):
            assert said_by("sh", login_line(["pwd"], cwd), own) == f"{MARK}\n{place}\n"
    finally:
        shutil.rmtree(own / "places")


@cases(50)
@given(NAME, NAME, NAME)
def test_the_tags_of_a_supervisor(own: Path, run: str, host: str, folder: str) -> None:
    """They stand before the command, in the words of `env`."""
    tags = supervise_argv(run, host, "python3", f"/home/{folder}")
    tags = tags[1 : tags.index("python3")]
    tagged = said_by("sh", login_line(["env", "-i", *tags, "/usr/bin/env", "-0"]), own).removeprefix(f"{MARK}\n")
    found = dict(entry.split("=", 1) for entry in tagged.split("\0")[:-1])
    assert (found["MOTLEY_RUN"], found["MOTLEY_HOST"], found["MOTLEY_DIR"]) == (run, host, f"/home/{folder}")


@given(st.lists(WORD, max_size=20))
def test_words_of_a_command_to_paste(own: Path, words: list[str]) -> None:
    line = f"printf '%s\\0' {pasteable([*words, 'end'])}"
    assert said_by("sh", line, own).split("\0")[:-1] == expected([*words, "end"], own)


ADDRESS = st.sampled_from(["box1", "10.0.0.7", "fe80::1%eth0"])
OPTION = ONE_LINE.filter(lambda word: bool(word.strip()) and not word.startswith("-"))


@cases(50)
@given(ADDRESS, st.none() | OPTION, st.none() | OPTION, st.none() | OPTION, st.lists(WORD, max_size=9))
@example("box1", None, None, None, ["sudo", "reboot"])
def test_a_command_to_paste_that_runs_on_a_host(
    own: Path, address: str, user: str | None, identity: str | None, jump: str | None, words: list[str]
) -> None:
    host = Host(name="box1", address=address, user=user, port=2222, identity=identity, jump=jump)
    command = f"printf '%s\\0' {pasteable([*words, 'end'])}"
    line = there(host, command)
    terminal = ["-t"] * ("sudo " in command)
    options = [("-J", jump), ("-i", identity), ("-p", "2222"), ("-l", user)]
    given_to_ssh = [word for flag, value in options if value is not None for word in (flag, value)]
    found = said_by("sh", line, own).split("\0")[:-1]
    assert found == [*expected([*terminal, *given_to_ssh, address], own), *expected([*words, "end"], own)]
