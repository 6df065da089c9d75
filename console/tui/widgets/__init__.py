"""The panels of the main screen: each paints the lines that a pure function makes of a snapshot."""
