"""The Textual application: the main screen, its panels, the layers over it. Only `commands` may enter."""
