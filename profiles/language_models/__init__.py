"""How much memory language models take, and what fits where: pure, for the console and for hosts."""
