"""`motley serve`: the console as a page in a browser. Its own guard stands before textual-serve, which has none."""
