from motley.trainer.api.session import session as session
from motley.trainer.balance.own_policy import Cost as Cost
from motley.trainer.callbacks.accelerate_tracker import AccelerateTracker as AccelerateTracker
from motley.trainer.callbacks.lightning_callback import LightningCallback as LightningCallback
from motley.trainer.callbacks.transformers_callback import TransformersCallback as TransformersCallback
from motley.trainer.readings.report import report as report
from motley.trainer.tasks.task import Task as Task

__version__: str
