"""What has a session measured that was killed, and may it go on?"""

from __future__ import annotations

from dataclasses import dataclass

from pytest_llmbench.errors import UsageError, few, suggest
from pytest_llmbench.results.ids import is_session_id, meant
from pytest_llmbench.results.journal import collect, is_running, journals
from pytest_llmbench.results.records import Header, ResultsDocument
from pytest_llmbench.results.store import LATEST, Store


@dataclass(frozen=True, slots=True)
class Kept:
    """What a session has measured that goes on."""

    document: ResultsDocument
    done: frozenset[str]
    """Ids of tests that need not run again."""
    part: str
    """What the journal of the part is called that is measured now."""
    problems: tuple[str, ...] = ()
    """What of its journals is damaged."""

    @property
    def failed(self) -> bool:
        """Whether a test has failed that does not run again."""
        cases = (case for case in self.document.cases if case.nodeid in self.done)
        return any(case.outcome in ("failed", "error") for case in cases)

    def check(self, now: Header) -> None:
        """Refuse to make one document of what does not go together.

        :raises UsageError: for another machine, commit, or version of anything that was told.
        """
        then = self.document
        found = []
        if then.machine is not None and now.machine is not None and then.machine.id != now.machine.id:
            found.append(f"it ran on machine {then.machine.id}, and this is {now.machine.id}")
        if then.commit.id != now.commit.id:
            found.append(
                f"it ran at commit {then.commit.short or 'unknown'}, not {now.commit.short or 'unknown'}"
            )
        for name in sorted(then.versions.keys() | now.versions.keys() if then.versions else ()):
            before, after = then.versions.get(name, "absent"), now.versions.get(name, "absent")
            if before != after:
                found.append(f"{name} was {before} and is {after}")
        if found:
            why = few(found, 3)
            msg = f"session {then.session.id} cannot go on here: {why}; measure anew, without --llm-resume"
            raise UsageError(msg)


def kept_of(store: Store, ref: str) -> Kept:
    """What the session has measured that *ref* means: an id, a part of one, or ``latest``.

    Of a test with a case that was interrupted, or cut off amid writing, nothing counts.

    :raises UsageError: if there is no such session, or it still runs.
    """
    session_id = _session_id(store, ref)
    if is_running(store, session_id):
        msg = f"session {session_id} is still running: end it first, or wait for it"
        raise UsageError(msg)
    document, problems = collect(store, session_id)
    if document is None:
        msg = f"session {session_id} cannot go on: {few(problems, 2) or 'nothing of it is there'}"
        raise UsageError(msg)
    broken = {case.nodeid for case in document.cases if case.outcome == "interrupted"}
    if problems and document.cases:
        # A line that is damaged may have been of any test, but was most likely of the last one.
        broken.add(document.cases[-1].nodeid)
    done = frozenset(case.nodeid for case in document.cases) - broken
    taken = {path.name for path in journals(store, session_id)}
    part = next(f"r{n:03}" for n in range(1, 1000) if f"{session_id}.r{n:03}.jsonl" not in taken)
    return Kept(document, done, part, tuple(problems))


def _session_id(store: Store, ref: str) -> str:
    known = {path.name.partition(".")[0] for path in journals(store)}
    known |= {path.stem for path in store.paths() if is_session_id(path.stem)}
    if ref == LATEST and known:
        return max(known)
    found = meant(ref, known)
    if len(found) == 1:
        return found[0]
    if found:
        msg = f"--llm-resume={ref} means {len(found)} sessions of {store.path}: {few(sorted(found), 3)}"
    else:
        msg = f"--llm-resume: there is no session {ref!r} in {store.path}{suggest(ref, sorted(known))}"
    raise UsageError(msg)
