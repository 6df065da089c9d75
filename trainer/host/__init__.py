"""The ground that every process of ours on a host stands on: the run's folder, the processes of a run, its leader.

All rooms of the trainer above it may enter. No torch.
"""
