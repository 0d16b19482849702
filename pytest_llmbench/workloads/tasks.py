"""Which tasks are there?"""

from __future__ import annotations

from typing import Literal, get_args

Task = Literal["text-generation", "summarization", "question-answering"]
"""What kind of work a model is given."""
TASKS: tuple[Task, ...] = get_args(Task)
