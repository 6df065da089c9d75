"""From a checked cluster to ranks that run: prepare, place, start, restart warm; or measure. `session` and
`kubernetes` may enter.
"""
