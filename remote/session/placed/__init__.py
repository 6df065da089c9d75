"""Runs whose hosts a scheduler gives: how pods start them, what a job on other nodes is brought, what its queue and its
volume tell. Only `session` may enter."""
