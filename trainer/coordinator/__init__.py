"""The process on the leader that says who is in the group, of a task or a script, and keeps the run's summary.

Decisions are the pure state machines of `membership`; the shells around them are `base_coordinator` and that of each
kind of run; `summary_file` writes `summary.json`; `server` is the socket. Only the front door may enter. No torch.
"""
