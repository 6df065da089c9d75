from motley.trainer.api.session import session as session
from motley.trainer.balance.own_policy import Cost as Cost
from motley.trainer.tasks.task import Task as Task

__version__: str
