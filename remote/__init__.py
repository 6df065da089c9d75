"""Hosts over SSH, and the machine itself, in rooms along the road to one: read the cluster file (`config`), connect
(`ssh`, `hosts`), give hosts what they need (`provision`), look them over (`preflight`), call verbs (`rpc`), keep what
they say (`experiment`), start (`launch`), stay with the run (`session`). What lies beside the rooms is the ground that
all of them use.

A room imports those earlier on the road, never later ones. asyncssh is in `ssh` alone, pydantic in `config`, pathspec
in `provision`. `console` may enter all of them.
"""
