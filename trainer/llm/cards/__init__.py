"""A language model on several cards of one rank: which layer lies where, and what is brought to it when it computes."""
