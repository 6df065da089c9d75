"""Has the keeper of this node (`keep_node`) start a command with the standard streams of this process; ends as it does.

    python3 -c TEXT motley-4711-fast-1 60 'exec sh -c …'

Exit code 255 when no keeper answers: with a line of stderr when there is none within that many seconds, without one
when it has gone while the command ran.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import time

NO_KEEPER = "motley: no keeper answers on this node"


def main(name: str, patience_s: str, line: str) -> int:
    ends = time.monotonic() + float(patience_s)
    while True:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect("\0" + name)
            uid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
            if uid != os.getuid():
                sys.stderr.write(NO_KEEPER + ": its socket is another user's\n")
                return 255
            break
        except ConnectionRefusedError:
            connection.close()
            if time.monotonic() > ends:
                sys.stderr.write(NO_KEEPER + "\n")
                return 255
            time.sleep(0.1)
    try:
        return asked(connection, line)
    except OSError:
        return 255


def asked(connection: socket.socket, line: str) -> int:
    """The exit code. Raises OSError when the connection breaks."""
    streams = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("3i", 0, 1, 2))]
    data = line.encode() + b"\0"
    sent = connection.sendmsg([data], streams)
    if sent < len(data):  # of nothing, too, it would fail once the command has ended
        connection.sendall(data[sent:])
    for stream in (0, 1, 2):
        os.close(stream)
    answer = b""
    while not answer.endswith(b"\n"):
        more = connection.recv(64)
        if not more:
            return 255
        answer += more
    return int(answer)


if __name__ == "__main__":
    os._exit(main(*sys.argv[1:]))
