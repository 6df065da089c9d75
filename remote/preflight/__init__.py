"""Is every host in order, and do they reach each other: asked, tried, judged.

A new check is a row of `check_names` and a finding in `judge` or one of `judge_*`, which are pure; what it needs to
know of a host, `trainer.bootstrap.probe` says there and `probe` reads here. `launch` and `session` may enter.
"""
