"""Why a run failed, and what it came to, out of events, clocks, and what processes said last. Pure. All rooms but
`config` may enter.
"""
