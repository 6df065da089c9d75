"""The hosts of a cluster as connections, opened once and kept. The rooms after it on the road may enter."""
