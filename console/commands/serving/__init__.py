"""`motley serve`: what other programs see of a run. One file a kind of reader."""
