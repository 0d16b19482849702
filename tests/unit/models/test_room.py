"""Is a model held against the memory that the machine has?"""

from __future__ import annotations

import psutil
import pytest

from pytest_llmbench.hardware import cgroups, gpus
from pytest_llmbench.models.room import Room, this_machine, too_large
from pytest_llmbench.models.spec import Known, ModelSpec

GIB = 2**30


def needing(memory: int | None) -> ModelSpec:
    return ModelSpec("org/name", alias="big", known=Known(memory=memory))


def test_a_model_fits_into_the_memory_of_the_machine_or_of_its_gpus() -> None:
    room = Room(8 * GIB, 24 * GIB)
    assert too_large(needing(24 * GIB), room) is None
    assert too_large(needing(None), room) is None
    assert too_large(ModelSpec("org/name"), room) is None
    assert too_large(needing(25 * GIB), room) == (
        "big needs 25.0 GiB of memory (recommended_memory_gb in the models file), and this machine has "
        "8.00 GiB, and 24.0 GiB on its GPUs"
    )
    assert str(too_large(needing(9 * GIB), Room(8 * GIB))).endswith("and this machine has 8.00 GiB")


def test_the_memory_of_this_machine_is_what_its_control_groups_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    total = psutil.virtual_memory().total
    for allowed, found in ((None, total), (GIB // 2, GIB // 2), (2 * total, total)):
        limits = cgroups.Limits(None, allowed, {})
        monkeypatch.setattr(cgroups, "limits", lambda limits=limits: limits)
        monkeypatch.setattr(gpus, "list_gpus", lambda: [{"memory": GIB}, {"memory": None}, {"memory": GIB}])
        assert this_machine() == Room(found, 2 * GIB)
