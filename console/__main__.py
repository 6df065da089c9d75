"""`python -m motley.console` is `motley`."""

from __future__ import annotations

from motley.console.cli import main

if __name__ == "__main__":
    main()
