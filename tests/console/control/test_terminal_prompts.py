"""Questions on a real terminal: what they show, what they take for an answer, and how Ctrl-C leaves it."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import select
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from motley.console.control.questions import host_key
from motley.remote.errors import NewKey
from tests.console.test_cli import ROOT
from tests.remote.by_password import ByPassword

WITHIN_S = 20.0


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, cwd: Path, *argv: str) -> None:
        self.ours, theirs = pty.openpty()
        env = {"PYTHONPATH": str(ROOT), "HOME": str(cwd), "PATH": os.environ["PATH"], "TERM": "xterm", "USER": "ada"}
        self.process = subprocess.Popen(
            argv, cwd=cwd, env=env, stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=self._take
        )  # fmt: skip
        os.close(theirs)
        self.shown = ""

    def until(self, text: str) -> None:
        """Read until it shows this."""
        while text not in self.shown:
            ready, _, _ = select.select([self.ours], [], [], WITHIN_S)
            assert ready, f"no {text!r} in {self.shown!r}"
            try:
                self.shown += os.read(self.ours, 4096).decode()
            except OSError as error:  # its end
                raise AssertionError(f"no {text!r} in {self.shown!r}") from error

    def type(self, text: str) -> None:
        os.write(self.ours, text.encode())

    def echoes(self) -> bool:
        return bool(termios.tcgetattr(self.ours)[3] & termios.ECHO)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait(WITHIN_S)
        os.close(self.ours)

    @staticmethod
    def _take() -> None:
        """The new session's terminal, so that Ctrl-C and /dev/tty are its own."""
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    opened: list[Terminal] = []
    yield opened
    for terminal in opened:
        terminal.close()


@pytest.mark.parametrize("kind", ["ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa"])
def test_what_to_compare_a_host_key_with_is_the_file_of_its_kind(kind: str) -> None:
    question, detail, _ = host_key(NewKey(host="box", name="box", fingerprint=f"SHA256:rsaecdsa ({kind})", line=""))
    assert question == "Is this the key of box?"
    assert f"/etc/ssh/ssh_host_{kind.removeprefix('ssh-').partition('-')[0]}_key.pub" in detail


@pytest.mark.parametrize("started", ["SIG_DFL", "SIG_IGN"])
def test_only_yes_is_yes_a_secret_is_not_shown_and_ctrl_c_leaves_the_terminal_as_it_was(
    tmp_path: Path, terminals: list[Terminal], started: str
) -> None:
    """Also of a program that a script has started in its background: that one is deaf to Ctrl-C from its start."""
    handler = "default_int_handler" if started == "SIG_DFL" else started
    code = (
        f"import asyncio, signal; signal.signal(2, signal.{handler})\n"
        "from motley.console.control import terminal_prompts\n"
        "async def main():\n"
        "    for n in range(3): print('answer', n, await terminal_prompts.yes(f'Sure {n}?'))\n"
        "    print('length', len(await terminal_prompts.secret('Password: ')))\n"
        "    await terminal_prompts.secret('Again: ')\n"
        "    print('never')\n"
        "try: asyncio.run(main())\n"
        "except KeyboardInterrupt: print('interrupted')\n"
    )
    terminal = Terminal(tmp_path, sys.executable, "-c", code)
    terminals.append(terminal)
    for n, (typed, answer) in enumerate((("yes", True), ("", False), ("nonsense", False))):
        terminal.until(f"Sure {n}? [y/N] ")
        terminal.type(f"{typed}\n")
        terminal.until(f"answer {n} {answer}")
    terminal.until("Password: ")
    terminal.type("secret7\n")
    terminal.until("length 7")
    terminal.until("Again: ")
    assert not terminal.echoes()
    terminal.type("\x03")
    terminal.until("interrupted")
    assert terminal.echoes()
    assert "secret7" not in terminal.shown
    assert "never" not in terminal.shown


async def test_motley_keys_from_the_first_question_to_a_login(tmp_path: Path, terminals: list[Terminal]) -> None:
    async with ByPassword(tmp_path / "box", "wide, Open") as server:
        (tmp_path / "cluster.toml").write_text(
            f'[[hosts]]\nname = "box"\naddress = "127.0.0.1"\nport = {server.port}\nuser = "{server.user}"\n'
            '[[hosts]]\nname = "mine"\nconnect = "demo"\n'
        )
        terminal = Terminal(tmp_path, sys.executable, "-m", "motley.console", "keys")
        terminals.append(terminal)
        steps = (
            (f"Is this the key of box ([127.0.0.1]:{server.port})? It is not known yet.", ""),
            (f"It shows {server.host_key.get_fingerprint()} (ssh-ed25519).", ""),
            ("Accept it? [y/N] ", "y\n"),
            ("Make one without a passphrase, ~/.ssh/id_ed25519? [y/N] ", "y\n"),
            (f"Password of {server.user}@127.0.0.1:{server.port} (", ""),
            ("leaves it out): ", "wide, Open\n"),
            (f"✔ box: {server.user}@127.0.0.1:{server.port} has your key now, and lets you in by it", ""),
            ("✔ mine: a demo host needs no key", ""),
        )
        for shown, typed in steps:
            await asyncio.to_thread(terminal.until, shown)
            terminal.type(typed)
        assert await asyncio.to_thread(terminal.process.wait, WITHIN_S) == 0
        assert "wide" not in terminal.shown
        assert server.authorized.read_text() == (tmp_path / ".ssh/id_ed25519.pub").read_text()
