"""Who is in the group, as pure state machines: fed with what members say and what time it is, they answer what to do.

`group_state_machine` is that of a task's groups, which go on without a lost member; `restart_state_machine` that of a
script, which is started again. Nothing here reads a clock or a socket. Only the coordinator may enter.
"""
