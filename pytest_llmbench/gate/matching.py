"""Which cases of the baseline may a case be compared with, and why not with the others?

Two measurements compare if they are the same test with the same parameters, on the same weights,
engine version and hardware, measured in the same way. How often (rounds, processes) may differ, and
commit and branch are what is being compared.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple

from pytest_llmbench.gate.ab import BASE_SUFFIX
from pytest_llmbench.results.brief import BriefDocument
from pytest_llmbench.results.measured import Measured, without_address
from pytest_llmbench.results.records import CaseRecord, ResultsDocument, label_of

Key = tuple[str, str]
"""Test id and measurement, as :attr:`CaseRecord.key`."""


class Kind(StrEnum):
    """Why a case has nothing to be compared with."""

    HARDWARE = "other hardware"
    BACKEND = "other backend"
    ENGINE = "other engine version"
    WEIGHTS = "other weights"
    QUANTIZATION = "other quantization"
    PARAMETERS = "other parameters"
    PROTOCOL = "other protocol"
    PROMPT = "other prompt"
    FAILED = "not measured in the baseline"
    RENAMED = "renamed"
    NEW = "new"
    MISSING = "missing"
    """In the baseline, and not in what is judged."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing in which two measurements of one test differ."""

    kind: Kind
    what: str
    base: str
    now: str

    def __str__(self) -> str:
        return f"{self.what}: {self.base} → {self.now}"


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A case that is not compared, and why."""

    nodeid: str
    measurement: str
    kind: Kind
    reason: str
    """In words, with what differs."""
    differences: tuple[Difference, ...] = ()
    session: str | None = None
    """The session of the baseline that comes closest."""
    base_key: Key | None = None
    """For a renamed case: what it was called."""

    @property
    def key(self) -> Key:
        """As :attr:`CaseRecord.key`."""
        return (self.nodeid, self.measurement)


_FIELDS = (
    ("hardware", Kind.HARDWARE),
    ("backend", Kind.BACKEND),
    ("engine", Kind.ENGINE),
    ("weights", Kind.WEIGHTS),
    ("quantization", Kind.QUANTIZATION),
    ("parameter", Kind.PARAMETERS),
    ("", Kind.PROTOCOL),
)


def differences(base: Measured, now: Measured) -> list[Difference]:
    """In what two measurements of one test differ; empty if they compare."""
    found: list[Difference] = []
    alike = base.written == now.written or base.identity == now.identity
    if alike and base.header.machine is not None:
        return _other_prompt(base, now)
    for (what, kind), old, new in zip(_FIELDS, base.identity, now.identity, strict=True):
        if isinstance(old, tuple) and isinstance(new, tuple):
            found += _pairs(what, kind, dict(old), dict(new))
        elif old != new or (old is None and kind is Kind.HARDWARE):
            # Two unknown machines are not the same machine.
            found.append(Difference(kind, what, _short(old), _short(new)))
    return found


def _other_prompt(base: Measured, now: Measured) -> list[Difference]:
    # The words of a load's prompts are others each time; how they are made is in its protocol.
    if now.under_load or not base.work.keys().isdisjoint(now.work):
        return []
    old, new = (min(side.prompts, default=None) for side in (base, now))
    return [Difference(Kind.PROMPT, "prompt", _short(old), _short(new))]


def _pairs(what: str, kind: Kind, base: dict[str, str], now: dict[str, str]) -> list[Difference]:
    names = [name for name in {**base, **now} if base.get(name) != now.get(name)]
    return [
        Difference(kind, f"{what} {name}".strip(), base.get(name, "not set"), now.get(name, "not set"))
        for name in names
    ]


def _short(value: object) -> str:
    text = "unknown" if value is None else str(value)
    return text[:19] if text.startswith("sha256:") else text


class Match(NamedTuple):
    """What one case may be compared with."""

    bases: tuple[Measured, ...]
    """One a session, the newest first."""
    mismatch: Mismatch | None
    """Why there is none."""
    left_out: tuple[Mismatch, ...]
    """The sessions of the baseline that have the test and do not compare."""


class Baselines:
    """The cases of several sessions, found by test and measurement.

    :param documents: the sessions, in any order; one that is given twice counts once.
    :param present: the ids of all tests of the session that is judged: a test of the baseline that
        still exists was not renamed.
    """

    def __init__(
        self, documents: Iterable[ResultsDocument | BriefDocument], present: Collection[str] = ()
    ) -> None:
        by_id = {document.session.id: document for document in documents}
        # The newest first: it is the one to speak of.
        self.documents = [by_id[i] for i in sorted(by_id, reverse=True)]
        self.present = frozenset(present)
        self._cases: dict[Key, list[Measured]] = {}
        self._elsewhere: dict[Key, set[Key]] = {}
        for document in self.documents:
            for case in document.cases:
                if case.measurement.endswith(BASE_SUFFIX):
                    continue  # What the session itself was compared with.
                self._cases.setdefault(case.key, []).append(Measured(case, document))
                anywhere = (without_address(case), case.measurement)
                self._elsewhere.setdefault(anywhere, set()).add(case.key)

    def key_of(self, case: CaseRecord) -> Key:
        """What the baseline calls *case*.

        Its own name comes first. Else that of a test which is gone and had it on a server at another
        address, if there was one such server: of several, their addresses alone tell which is which.
        """
        if case.key not in self._cases:
            there = self._elsewhere.get((without_address(case), case.measurement), set())
            if len(there) == 1 and (key := next(iter(there)))[0] not in self.present:
                return key
        return case.key

    def match(self, now: Measured) -> Match:
        """The measurements that *now* compares with, or why there is none."""
        matches: list[Measured] = []
        others: list[Mismatch] = []
        for base in self._cases.get(self.key_of(now.case), ()):
            if not base.usable:
                others.append(_failed(now.case, base))
            elif found := differences(base, now):
                others.append(_differing(now.case, base, found))
            else:
                matches.append(base)
        if matches:
            return Match(tuple(matches), None, tuple(others))
        nearest = _nearest(others) or self._renamed(now) or _new(now.case)
        return Match((), nearest, tuple(one for one in others if one is not nearest))

    @property
    def cases(self) -> Iterable[list[Measured]]:
        """Every case of the baseline, as its sessions measured it, the newest first."""
        return self._cases.values()

    def missing(self, seen: Collection[Key]) -> list[Mismatch]:
        """The cases of the baseline that are not among *seen*, in its order."""
        found = []
        for (nodeid, measurement), bases in self._cases.items():
            usable = [base for base in bases if base.usable]
            if usable and (nodeid, measurement) not in seen:
                session = usable[0].session
                reason = f"session {session} of the baseline has it, and it was not measured now"
                found.append(Mismatch(nodeid, measurement, Kind.MISSING, reason, session=session))
        return found

    def _renamed(self, now: Measured) -> Mismatch | None:
        """What *now* was called before, if all but its name is the same and no other could be meant."""
        for place in _places(now):
            candidates = self._gone.get(place, [])
            if len({base.case.key for base in candidates}) == 1:
                base = candidates[0]
                case = now.case
                old = _named(base.case.key)
                return Mismatch(
                    case.nodeid,
                    case.measurement,
                    Kind.RENAMED,
                    f"everything but the name is as in {old} of session {base.session}",
                    session=base.session,
                    base_key=base.case.key,
                )
        return None

    @cached_property
    def _gone(self) -> dict[tuple[object, ...], list[Measured]]:
        """The baseline's cases whose tests are gone, by everything but their name or a part of it."""
        found: dict[tuple[object, ...], list[Measured]] = {}
        for (nodeid, _), bases in self._cases.items():
            if nodeid in self.present:
                continue
            for base in bases:
                if base.usable:
                    for place in _places(base):
                        found.setdefault(place, []).append(base)
        return found


def _nearest(others: Sequence[Mismatch]) -> Mismatch | None:
    """Of what does not match, what differs in least."""
    differing = [one for one in others if one.differences]
    return min(differing, key=lambda one: len(one.differences)) if differing else next(iter(others), None)


def _places(measured: Measured) -> tuple[tuple[object, ...], ...]:
    """Where to look for a renamed test: a moved file first, then a renamed function, then any name."""
    case = measured.case
    rest = case.nodeid.partition("::")[2]
    parameters = rest.partition("[")[2]
    # The words of a load's prompts are others each time.
    same = (measured.identity, None if measured.under_load else measured.prompts, case.measurement)
    return ((*same, "name", rest), (*same, "file", case.file, parameters), (*same, "any"))


def _failed(case: CaseRecord, base: Measured) -> Mismatch:
    reason = f"it {base.how_it_ended} in session {base.session}"
    return Mismatch(case.nodeid, case.measurement, Kind.FAILED, reason, session=base.session)


def _differing(case: CaseRecord, base: Measured, found: list[Difference]) -> Mismatch:
    kind = min((one.kind for one in found), key=list(Kind).index)
    # A kind says what it is about, unless it stands for several things.
    plain = len(found) == 1 and kind not in (Kind.PROTOCOL, Kind.PARAMETERS)
    what = f"{found[0].base} → {found[0].now}" if plain else "; ".join(map(str, found))
    reason = f"{what} (session {base.session})"
    return Mismatch(case.nodeid, case.measurement, kind, reason, tuple(found), base.session)


def _new(case: CaseRecord) -> Mismatch:
    return Mismatch(case.nodeid, case.measurement, Kind.NEW, "the baseline does not have it")


def _named(key: Key) -> str:
    return label_of(*key)
