"""The data set `image_folder`: pictures of the user's own in a folder, one for each class. What lies where is
read by `class_folders`, a file is decoded by `picture`, with Pillow, and `data_set` makes samples of both.
`trainer.tasks.datasets` and `trainer.data.fingerprint` may enter.
"""
