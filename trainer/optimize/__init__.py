"""How weights move: optimizer, learning rate, averages over ranks apart, and all that belongs to them in a state.

Every room from `training` up may enter. What is exact here is held by tests against a single process.
"""
