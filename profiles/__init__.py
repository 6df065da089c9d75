"""What a machine can do and what to ask of it: probing, cost model, split solver, planner. Pure Python."""
