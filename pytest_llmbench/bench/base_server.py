"""Which server is the base side of an A/B session, and can a case have it?

What ``--llm-ab`` names and a server cannot have is refused: left out in silence, the two sides would
be the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_llmbench.backends.options import option_values
from pytest_llmbench.cases.selection import ServerChoice
from pytest_llmbench.errors import UsageError
from pytest_llmbench.servers.table import DOCKER, find_engine

if TYPE_CHECKING:
    from pytest_llmbench.bench.serving import Asked
    from pytest_llmbench.cases.selection import CaseParam, Selector
    from pytest_llmbench.gate.ab import BaseSide

OF_A_CONTAINER = ("image", "gpus")
OF_A_START = ("arguments", "context", "start_timeout", *OF_A_CONTAINER)
"""Options of the backend that say nothing of a server that runs already."""


def base_server(case: CaseParam, now: Asked, base: BaseSide, selector: Selector) -> Asked:
    """The server of the base side, where a case is measured on the one of *now*.

    :raises UsageError: for what the base side's server cannot have, or if nothing of *base* is of a server.
    """
    name = case.backend.name
    given = base.options.get(name, {})
    options = option_values(case.backend, {**now.options, **given})
    asked = replace(now, options=options)
    starts = now.starts and base.base_url is None
    own = [key for key in ("python", "quantization") if getattr(base, key) is not None]
    own += [f"env.{variable}" for variable in base.environment]
    if not (own or given or base.model or base.base_url):
        others = ", ".join(key for key in base.to_json() if key not in own)
        msg = (
            f"{case.id} is measured on a server, which --llm-ab {others} does not change: give base_url=, "
            f"model= or {name}.OPTION=; for one that --llm-serve starts, python=, quantization= or env.NAME="
        )
        raise UsageError(msg)
    if not starts:
        url = base.base_url or now.choice.base_url
        own += [f"{name}.{option}" for option in given if option in OF_A_START]
        _refuse(own, f"{url} runs already", base.base_url)
        spec = case.spec if base.model is None else replace(case.spec, name=base.model)
        choice = now.choice if base.base_url is None else ServerChoice(base_url=url)
        return replace(asked, choice=choice, spec=spec)
    engine = now.choice.engine or ""
    inside = engine.startswith(DOCKER)
    if base.python is not None and (inside or "{python}" not in find_engine(engine).program):
        instead = f"{name}.image=IMAGE" if inside else "env.PATH=FOLDERS"
        msg = (
            f"--llm-ab python={base.python}: {engine} is not run by an interpreter of this machine; name the "
            f"base side's by {instead}, or start it yourself and give base_url=http://HOST:PORT/v1"
        )
        raise UsageError(msg)
    if not inside:
        alone = [f"{name}.{option}" for option in given if option in OF_A_CONTAINER]
        if alone:
            msg = f"--llm-ab {_words(alone)}: {engine} is started without a container; serve docker:{engine}"
            raise UsageError(msg)
    spec = case.spec if base.model is None else selector.spec(base.model)
    quantization = base.quantization or spec.quantization or case.spec.quantization
    spec = replace(spec, quantization=quantization)
    if (why := selector.unservable(engine, spec, base.quantization)) is not None:
        msg = f"--llm-ab: {why}"
        raise UsageError(msg)
    return replace(asked, spec=spec, python=base.python or now.python, environment=dict(base.environment))


def _refuse(keys: Sequence[str], why: str, base_url: str | None) -> None:
    """Refuse what only a server that is started can have."""
    if not keys:
        return
    what = "leave it out" if len(keys) == 1 else "leave them out"
    instead = (
        f"{what}, or set it where that server is started"
        if base_url is not None
        else "start the other server yourself, so set, and give base_url=http://HOST:PORT/v1; "
        "or let --llm-serve start both"
    )
    msg = f"--llm-ab {_words(keys)} cannot be set, because {why}: {instead}"
    raise UsageError(msg)


def _words(keys: Iterable[str]) -> str:
    return ", ".join(keys)
