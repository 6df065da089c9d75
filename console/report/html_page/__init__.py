"""A report as a page of HTML: what stands alone in one file, its curves, and what of a run is on it."""
