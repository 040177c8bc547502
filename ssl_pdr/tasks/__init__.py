"""What differs between tasks: columns, features, logits and metrics."""

from ssl_pdr.tasks.base import Task
from ssl_pdr.tasks.classification import SequenceClassification
from ssl_pdr.tasks.question_answering import QuestionAnswering

__all__ = ["QuestionAnswering", "SequenceClassification", "Task"]
