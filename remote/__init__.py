"""Hosts over SSH: the cluster file, connections, push, launch, follow, stop and checks."""
