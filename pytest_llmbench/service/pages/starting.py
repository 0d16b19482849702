"""What can this service start, and how does what a form asks for become a job?"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from pytest_llmbench.errors import UsageError
from pytest_llmbench.service.pages.form import BackendChoice, Choices, Wanted
from pytest_llmbench.service.requests import ModelRequest, SuiteRequest, models, suites

if TYPE_CHECKING:
    from pytest_llmbench.service.jobs import Job
    from pytest_llmbench.service.state import Service


def choices(service: Service) -> Choices:
    """What there is to choose from."""
    from pytest_llmbench.settings.presets import shipped

    configuration = service.configuration
    allowed = configuration.backends
    backends, quantizations = _backends()
    shown = tuple(one for one in backends if not allowed or one.name in allowed)
    usable = [one.name for one in shown if one.missing is None]
    return Choices(
        models=tuple(models(configuration)),
        backends=shown,
        quantizations=tuple(dict.fromkeys(q for name in usable for q in quantizations[name])),
        presets=tuple((name, preset.description) for name, preset in shipped().all().items()),
        suites=tuple((name, "") for name in suites(configuration)),
    )


@cache
def _backends() -> tuple[tuple[BackendChoice, ...], dict[str, tuple[str, ...]]]:
    """The backends, and the quantizations of each; what is installed stays as it is meanwhile."""
    from pytest_llmbench.backends.registry import Registry

    registry = Registry()
    found = []
    for name, there in registry.availability().items():
        why = None if there.available else there.reason or "it is not installed"
        found.append(BackendChoice(name, why))
    return tuple(found), {one.name: tuple(registry.get(one.name).quantizations) for one in found}


def submit(service: Service, wanted: Wanted) -> Job:
    """Put what is wanted into the queue.

    :raises UsageError: if it cannot be measured here.
    :raises FullError: if too many wait.
    """
    config: dict[str, Any] = {**wanted.settings, "backends": list(wanted.backends)}
    if wanted.quantizations:
        config["quantizations"] = list(wanted.quantizations)
    if wanted.preset is not None:
        config["preset"] = wanted.preset
    request: ModelRequest | SuiteRequest
    try:
        if wanted.suite is not None:
            if wanted.models:
                config["models"] = list(wanted.models)
            request = SuiteRequest(suite=wanted.suite, overrides=config)
        else:
            if len(wanted.models) > 1:
                config["models"] = list(wanted.models)
            request = ModelRequest(
                model_id=wanted.models[0], config={**config, "prompt": wanted.prompt or ""}
            )
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        msg = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise UsageError(msg) from None
    return service.submit(request)
