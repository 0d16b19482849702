"""Does a task ask what its name says, with texts of its own?"""

from __future__ import annotations

import pytest

from pytest_llmbench.workloads.tasks import TASKS, TaskName, task_of


@pytest.mark.parametrize("name", TASKS)
def test_each_task_has_several_texts_of_which_the_seed_chooses_one(name: TaskName) -> None:
    asked = [task_of(name, seed) for seed in range(4)]
    assert len({one.prompt for one in asked}) == 4
    assert task_of(name, 4) == asked[0]
    for one in asked:
        assert one.prompt.startswith(one.ask)
        assert bool(one.text) is (name != "text-generation")
        assert one.text in one.prompt
        assert one.text == "" or one.text not in one.before


def test_a_text_to_write_has_notes_where_it_has_a_length() -> None:
    assert task_of("text-generation", 0).before.endswith("These are your notes.")
