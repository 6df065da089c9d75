"""A member's process: its connection to the coordinator, the process group, its state; and the fork server it comes
from. That its group has broken it hears in `coordinator_client`, or from a collective (`collective_errors`).

Only `verbs` and the front door may enter. Imports torch, but for what a script's rank needs.
"""
