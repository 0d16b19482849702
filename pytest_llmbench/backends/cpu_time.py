"""Does the CPU time of an engine say how much work it did, whatever else the machine does?

Of one thread on a CPU it does: what others have of the machine is not in it. Threads that wait for each
other in a loop take CPU time as well, the more the longer one of them has no core; and what a GPU does is
in no CPU time at all.

Only the standard library is imported: the engine's process may be one of another environment.
"""

from __future__ import annotations

from collections.abc import Mapping

from pytest_llmbench.backends.threads import THREADS

CPU_TIME = "cpu_time"
"""Among what an engine says of its load: :data:`COMPARABLE`, or why its CPU time does not compare."""
COMPARABLE = "comparable"
OF_PYTEST = (
    "not measured: with --llm-isolation=none the engine's process is pytest's own, which does other work too"
)


def thread_counts(info: Mapping[str, object]) -> dict[str, int]:
    """How many threads an engine says that it has: ``n_threads``, and what begins so."""
    return {name: n for name, n in info.items() if name.startswith(THREADS) and isinstance(n, int)}


def told_of_cpu_time(info: Mapping[str, object]) -> str:
    """What to say of it, from what an engine says of its load.

    It has to say its number of threads (of several, the largest counts), and in ``on_gpu`` whether a GPU does
    any of its work.
    """
    counts = thread_counts(info).values()
    if info.get("on_gpu"):
        return "not comparable: a GPU does the work"
    if not counts or "on_gpu" not in info:
        return "not comparable: the engine does not say how many threads it has, or whether it has a GPU"
    if max(counts) > 1:
        return f"not comparable beside other load: {max(counts)} threads that may wait in a loop"
    return COMPARABLE


def told_of_server(unknown: str | None) -> str:
    """Likewise of a server.

    :param unknown: why the CPU time of its processes cannot be read; None if it can.
    """
    if unknown is not None:
        return f"not measured: {unknown}"
    # Not even of one that computes with one thread: others read the requests and write the answers.
    return "not comparable beside other load: a server has several threads"


def comparable(engine: Mapping[str, object]) -> bool:
    """Whether the CPU time of an engine that was so loaded compares, whatever else the machine did."""
    return engine.get(CPU_TIME) == COMPARABLE


def why_incomparable(engine: Mapping[str, object]) -> str | None:
    """What an engine that was so loaded says against it; None if it compares."""
    return None if comparable(engine) else str(engine.get(CPU_TIME, "not comparable: not measured"))


def comparable_with_one_thread(engine: Mapping[str, object]) -> bool:
    """Whether the CPU time of an engine that was so loaded would compare if it had one thread."""
    return told_of_cpu_time({**engine, **dict.fromkeys(thread_counts(engine), 1)}) == COMPARABLE
