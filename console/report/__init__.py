"""Runs afterwards: a folder becomes a `Report`, several a `Comparison`; views make text or a page of them."""
