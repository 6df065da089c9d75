"""A trained model for others to use: its weights out of a checkpoint, into a file. Imports torch.

`trainer.verbs.export` enters.
"""
