"""Are devices told apart, and is what uses them found?"""

from __future__ import annotations

import pytest

from pytest_llmbench.matrix.devices import DEVICES_VARIABLE, Devices


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        (Devices(gpus=("0", "1")), Devices(gpus=("1",)), True),
        (Devices(gpus=("0",)), Devices(gpus=("1",)), False),
        (Devices(gpus=("0",)), Devices(), False),
        (Devices(), Devices(cpus=frozenset({3})), True),
        (Devices(cpus=frozenset({1, 2})), Devices(cpus=frozenset({2, 3})), True),
        (Devices(cpus=frozenset({1, 2})), Devices(cpus=frozenset({3, 12})), False),
        (Devices(scope="a"), Devices(scope="b"), False),
    ],
)
def test_devices_are_shared_by_kind_and_number(one: Devices, other: Devices, shared: bool) -> None:
    assert one.shares(other.environment[DEVICES_VARIABLE]) is shared
    assert other.shares(one.environment[DEVICES_VARIABLE]) is shared


def test_an_attempt_on_cpus_sees_no_gpu() -> None:
    assert Devices(cpus=frozenset({1})).environment["CUDA_VISIBLE_DEVICES"] == ""
    assert Devices(gpus=("GPU-1", "GPU-2")).environment["CUDA_VISIBLE_DEVICES"] == "GPU-1,GPU-2"
