"""Why a run failed, out of events, clocks, and what processes said last. Pure. All rooms but `config` may enter."""
