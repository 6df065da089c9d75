"""What is looked at while a run trains, so that nothing of it is lost: when a checkpoint is due,
whether the loss is sound, and a fingerprint of the step after a checkpoint.

`training` and `rank` may enter. It decides; what is written and told, and how a run ends, is theirs.
"""
