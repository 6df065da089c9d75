"""What `motley export` writes besides weights: a run that is to be, for an engine that hands out machines."""
