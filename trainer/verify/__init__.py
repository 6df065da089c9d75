"""One step of a run that is over, computed once more by one process: for the comparison with what the run wrote."""
