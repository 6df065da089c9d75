"""What crosses machines: records, specs, requests, and the first words on a socket. Standard library only.

Anybody may enter: it is all that `remote` and `console` may import of the trainer, but for the programs of `bootstrap`.
"""
