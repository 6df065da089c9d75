"""`motley sweep`: the same run with other settings, one after the other."""
