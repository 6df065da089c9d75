"""The layers over the main screen: a question, the help."""
