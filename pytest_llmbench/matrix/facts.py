"""With what does this node measure?

These facts are the node's part of a result's key: the same cell measured with another driver, engine version
or product is another result. So no device's index is in them, no name of a host, no path, no time, and not
how many devices a node has beside those that a cell uses.
"""

from __future__ import annotations

from collections.abc import Mapping

from pytest_llmbench.hardware.cores import numa_nodes, usable_cores
from pytest_llmbench.matrix.cells import digest_of
from pytest_llmbench.matrix.executor import Node
from pytest_llmbench.results.environment import DISTRIBUTIONS, machine, versions
from pytest_llmbench.results.records import Market

CPU = "cpu"
"""The label of what every node has, a device for each NUMA node."""
_OWN = ("pytest-llmbench",)
"""Of the distributions that are not engines, whose version decides how it is measured."""


def node_facts() -> dict[str, str]:
    """What this node measures with, by name."""
    here, installed = machine(), versions()
    gpus, system = here.gpus, here.os
    others = frozenset(DISTRIBUTIONS).difference(_OWN)
    facts = {
        "cpu": here.cpu.get("model"),
        "os": " ".join(str(system[name]) for name in ("system", "architecture") if system.get(name)),
        "distribution": system.get("distribution"),
        **{name: version for name, version in installed.items() if name not in others},
    }
    if gpus:
        facts["product"] = ", ".join(sorted({str(gpu.get("name")) for gpu in gpus}))
        facts["driver"] = gpus[0].get("driver")
    else:
        nodes = numa_nodes()
        facts["cores"] = usable_cores() // len(nodes)
    return {name: str(value) for name, value in sorted(facts.items()) if value is not None}


def this_node(
    name: str,
    hardware: Mapping[str, int],
    *,
    market: Market | None = None,
    facts: Mapping[str, str] | None = None,
) -> Node:
    """This node, as an executor tells of it.

    :param hardware: devices by label.
    :param facts: if they are known already.
    """
    known = node_facts() if facts is None else facts
    return Node(name, hardware, known, digest_of(dict(known)), market)
