"""Motley trains one model on the machines you have. This is its one import name, for people's own code too:

    import motley

    class Night(motley.Task): ...       # a task of one's own
    run = motley.session()              # in a training loop of one's own
    motley.report(step=40, loss=loss)   # in a script that does all the rest itself

In a checkout the four packages in here are links to the folders beside it; a wheel has them as they are.
It imports nothing before it is asked: every process on a host reads it, also one whose Python is too old for the rest.
"""

__version__ = "0.1.0"

_PUBLIC = {  # `__init__.pyi` says the same to type checkers
    "AccelerateTracker": "motley.trainer.callbacks.accelerate_tracker",
    "Cost": "motley.trainer.balance.own_policy",
    "LightningCallback": "motley.trainer.callbacks.lightning_callback",
    "Task": "motley.trainer.tasks.task",
    "TransformersCallback": "motley.trainer.callbacks.transformers_callback",
    "report": "motley.trainer.readings.report",
    "session": "motley.trainer.api.session",
}


def __getattr__(name):  # type: ignore[no-untyped-def]
    if name not in _PUBLIC:
        raise AttributeError(f"module 'motley' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_PUBLIC[name]), name)
