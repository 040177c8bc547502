"""What differs between tasks: columns, features, logits and metrics."""

from ssl_pdr.tasks.base import Task, list_tasks
from ssl_pdr.tasks.classification import SequenceClassification

__all__ = ["SequenceClassification", "Task", "list_tasks"]
