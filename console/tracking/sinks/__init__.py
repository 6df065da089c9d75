"""One file a tracker: how it is written to. It imports its library: only the process of that tracker does."""
