"""What is known of a run: records go in, a frozen snapshot comes out. All rooms above may enter."""
