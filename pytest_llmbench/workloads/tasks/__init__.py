"""What is a model asked in a task, whatever its length?

The texts stand in a file for each task, beside this module: several of each, of which the seed chooses one.
They say what kind of work is measured; whether it is done well is another question.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, get_args

TaskName = Literal["text-generation", "summarization", "question-answering"]
"""What kind of work a model is given."""
TASKS: tuple[TaskName, ...] = get_args(TaskName)


@dataclass(frozen=True, slots=True)
class Task:
    """One thing that is asked, and a text for it."""

    ask: str
    """What to do; it stands before the text."""
    about: str = ""
    """What stands between it and a text that is made instead, if *ask* does not speak of one."""
    text: str = ""
    """What it is about: a text to be summed up, or that has the answer. Empty if it needs none."""

    @property
    def prompt(self) -> str:
        """The whole of it, as it is."""
        return f"{self.ask}\n\n{self.text}" if self.text else self.ask

    @property
    def before(self) -> str:
        """What stands before a text that is made to a length."""
        return f"{self.ask} {self.about}" if self.about else self.ask


def task_of(name: TaskName, seed: int) -> Task:
    """What is asked in a task of that name with that seed: seeds in a row have different ones."""
    found = _texts(name)
    return found[seed % len(found)]


@cache
def _texts(name: TaskName) -> tuple[Task, ...]:
    import yaml

    text = Path(__file__).with_name(f"{name}.yaml").read_text("utf-8")
    return tuple(Task(**one) for one in yaml.safe_load(text))
