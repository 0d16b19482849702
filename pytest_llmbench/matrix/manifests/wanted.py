"""What does somebody want to run on a cluster, and is it something that Kubernetes takes?

The rules of names are Kubernetes' own (its page "Object Names and IDs"), so that a mistake is said here, in
one line, and not by a server later.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pytest_llmbench.errors import UsageError, few, one_line, suggest
from pytest_llmbench.matrix.facts import CPU
from pytest_llmbench.matrix.manifests.kinds import GPU
from pytest_llmbench.results.cell import Hardware

HARDWARE_LABEL = "llmbench/hardware"
"""Of nodes, where it is not said which label tells them apart."""
MOST_BATCHES = 10_000
"""Pods that one Job may have; Kubernetes takes no more failed ones than this."""
_MOST_PODS, _MOST_CPUS, _MOST_MEMORY = 1000, 1024, 65_536
_LONGEST_NAME = 40
"""Characters; what is made of it has to stay under 63, with a label and a number behind."""
_LONGEST = 57
_MOST_MATRIX = 900_000
"""Bytes of the matrix's file: a ConfigMap takes 1 MiB, with everything in it."""
_DNS = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_NAME = r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?"


@dataclass(frozen=True, slots=True)
class Nodes:
    """Nodes with one kind of hardware, and what they have to do."""

    hardware: Hardware
    batches: int
    """Of its cells: 1 or more."""
    selector: Mapping[str, str] = field(default_factory=dict)
    """Labels that these nodes have."""

    @property
    def gpus(self) -> int:
        """Accelerators of one pod."""
        return 0 if self.hardware.name == CPU else self.hardware.count

    @property
    def slug(self) -> str:
        """The hardware's label as a part of names."""
        return re.sub(r"[^a-z0-9]+", "-", self.hardware.label.lower()).strip("-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A matrix on a cluster."""

    name: str
    matrix: str
    """The text of the matrix's file."""
    nodes: tuple[Nodes, ...]
    image: str = "pytest-llmbench"
    namespace: str = "llmbench"
    gpu: str = GPU
    """The resource that a node's accelerators are."""
    spot: tuple[str, str] | None = None
    """The label, and the taint, of spot nodes: its key and its value."""
    queue: str | None = None
    """A queue of Kueue's."""
    pods: int = 4
    """That measure at once, of each kind of hardware."""
    cpus: int = 4
    """Whole ones, of each device."""
    memory: int = 16
    """GiB, of each device."""

    def __post_init__(self) -> None:
        """Check it.

        :raises UsageError: in one line, for what Kubernetes would refuse.
        """
        if len(self.name) > _LONGEST_NAME or not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", self.name):
            msg = (
                f"{one_line(self.name, 100)!r} is not a valid name on Kubernetes: use at most "
                f"{_LONGEST_NAME} small letters, digits and '-', from a letter to a letter or digit (--name)"
            )
            raise UsageError(msg)
        _check_dns("--namespace", self.namespace)
        if self.queue is not None:
            _check_dns("--queue", self.queue)
        if not re.fullmatch(r"[A-Za-z0-9][-\w./:@]{0,511}", self.image):
            msg = f"--image {one_line(self.image, 100)!r} is not an image: use REGISTRY/NAME:TAG"
            raise UsageError(msg)
        if not _is_key(self.gpu) or "/" not in self.gpu:
            msg = f"--gpu {one_line(self.gpu, 100)!r} is not a resource: use a name such as {GPU}"
            raise UsageError(msg)
        for option, value, most in (
            ("--pods", self.pods, _MOST_PODS),
            ("--cpus", self.cpus, _MOST_CPUS),
            ("--memory", self.memory, _MOST_MEMORY),
        ):
            _check_number(option, value, most)
        if (size := len(self.matrix.encode())) > _MOST_MATRIX:
            msg = f"the matrix's file has {size:,} bytes, and a ConfigMap takes {_MOST_MATRIX:,}"
            raise UsageError(msg)
        self._check_nodes()

    def _check_nodes(self) -> None:
        if not self.nodes:
            msg = "the matrix has no cell: there is nothing to run"
            raise UsageError(msg)
        slugs: dict[str, str] = {}
        for one in self.nodes:
            label = one.hardware.label
            check_batches(f"batches of {label}", one.batches)
            if len(self.name) + 1 + len(one.slug) > _LONGEST:
                msg = (
                    f"the names of {label}'s objects would be longer than Kubernetes takes: use a shorter "
                    f"--name than {self.name!r}"
                )
                raise UsageError(msg)
            if other := slugs.get(one.slug):
                msg = f"{other} and {label} would have the same name on Kubernetes, {one.slug!r}: rename one"
                raise UsageError(msg)
            slugs[one.slug] = label
            if one.hardware.market == "spot" and self.spot is None:
                msg = f"{label} is on spot nodes: say which these are, with --spot LABEL=VALUE"
                raise UsageError(msg)


def check_batches(option: str, value: int) -> None:
    """Check how many batches there are.

    :raises UsageError: if Kubernetes takes no such number.
    """
    _check_number(option, value, MOST_BATCHES)


def read_label(option: str, text: str) -> tuple[str, str]:
    """Key and value of a node's label.

    :raises UsageError: if *text* is not ``KEY=VALUE``, or Kubernetes takes no such label.
    """
    key, sign, value = text.partition("=")
    if not sign or not _is_key(key) or len(value) > 63 or (value and not re.fullmatch(_NAME, value)):
        msg = (
            f"{option} {one_line(text, 100)!r} is not a node's label: use KEY=VALUE, such as "
            "cloud.google.com/gke-accelerator=nvidia-l4"
        )
        raise UsageError(msg)
    return key, value


def read_selectors(given: Iterable[str], hardware: Iterable[str]) -> dict[str, dict[str, str]]:
    """Which labels the nodes of each kind of hardware have; where nothing is said, one of ours.

    :param given: ``HARDWARE=KEY=VALUE`` each.
    :param hardware: the names that the matrix has.
    :raises UsageError: if one is not of this form, or of hardware that the matrix does not have.
    """
    known = list(dict.fromkeys(hardware))
    found: dict[str, dict[str, str]] = {name: {} for name in known}
    for one in given:
        name, sign, label = one.partition("=")
        if not sign:
            msg = (
                f"--hardware {one_line(one, 100)!r} says no nodes: use HARDWARE=KEY=VALUE, such as "
                "L4=cloud.google.com/gke-accelerator=nvidia-l4"
            )
            raise UsageError(msg)
        if name not in found:
            msg = (
                f"--hardware: the matrix has no hardware {one_line(name, 100)!r}{suggest(name, known)}; it "
                f"has {few(known)}"
            )
            raise UsageError(msg)
        key, value = read_label("--hardware", label)
        found[name][key] = value
    for name, labels in found.items():
        if not labels and name != CPU:
            key, value = HARDWARE_LABEL, name
            if len(name) > 63 or not re.fullmatch(_NAME, name):
                msg = f"{one_line(name, 100)!r} cannot be a node's label: use --hardware {name}=KEY=VALUE"
                raise UsageError(msg)
            labels[key] = value
    return found


def _check_dns(option: str, text: str) -> None:
    if len(text) > 63 or not re.fullmatch(_DNS, text):
        msg = (
            f"{option} {one_line(text, 100)!r} is not a valid name on Kubernetes: use at most 63 small "
            "letters, digits and '-'"
        )
        raise UsageError(msg)


def _check_number(option: str, value: int, most: int) -> None:
    if not 1 <= value <= most:
        msg = f"{option}: {value} is not a number from 1 to {most:,}"
        raise UsageError(msg)


def _is_key(text: str) -> bool:
    """Whether Kubernetes takes it as the key of a label or the name of a resource."""
    prefix, slash, name = text.rpartition("/")
    domain = rf"{_DNS}(\.{_DNS})*"
    return (
        len(name) <= 63
        and re.fullmatch(_NAME, name) is not None
        and (not slash or (len(prefix) <= 253 and re.fullmatch(domain, prefix) is not None))
    )
