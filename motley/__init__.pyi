from motley.trainer.tasks.task import Task as Task

__version__: str
