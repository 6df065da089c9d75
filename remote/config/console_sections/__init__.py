"""Sections of cluster.toml that only the console reads: where its hosts come from, and what it does beside a run."""
