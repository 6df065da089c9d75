"""A snapshot becomes lines of text. Pure. All rooms above may enter."""
