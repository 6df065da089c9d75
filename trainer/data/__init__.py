"""From a task's data sets to batches: samples fetched by number, as tensors or from a Dataset, and cut into parts.

`training` asks it for the samples of each step. Imports torch.
"""
