"""Sections of cluster.toml that only the console reads: what it does beside a run."""
