"""What runs on a host before anything of ours is there: what inspects it, and what brings trees of files there.

Of a large tree only those files are sent that are missing there (`missing_files`).

`remote.provision.bootstrap` sends their text on the standard input of the host's Python, with what they read after it.
So they import the standard library and each other only, and run on Python 3.8 to say that 3.10 is needed. What they
have to say is a line of stdout that starts with `motley:`.

    $ (echo "$PROGRAM"; echo '{}'; cat tree.tar.gz) | ssh box1 python3 -c '…' <hash>
    motley:{"ok": true, "sent": true}
"""
