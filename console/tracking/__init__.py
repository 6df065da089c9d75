"""Trackers: the figures of a run written to TensorBoard, wandb and the like, each by a process of its own."""
