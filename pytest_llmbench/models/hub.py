"""How do the files of a hub's model get here?

Through huggingface_hub, with its cache, its offline mode, its login and its endpoint.
"""

from __future__ import annotations

import contextlib
import glob
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from pathlib import Path, PurePosixPath

from pytest_llmbench.errors import ModelError
from pytest_llmbench.models.forms import FileForm
from pytest_llmbench.models.spec import ModelSpec, ResolvedModel

_WEIGHTS = re.compile(r"\.(gguf|safetensors)$", re.IGNORECASE)


class _NotAskedError(Exception):
    """The hub is not to be asked."""


def hub_model(spec: ModelSpec, form: FileForm, *, quiet: bool) -> ResolvedModel:
    """The model of a hub repository, downloaded if it is not in the hub's cache.

    :raises ModelError: if the model does not exist or may not be read, or the hub cannot be reached.
    """
    names, silence = _list_files(spec)
    try:
        where = spec.name if spec.revision is None else f"{spec.name}@{spec.revision}"
        chosen = form.choose(spec, names, where)
    except ModelError as error:
        # What the cache lacks, the repository may have.
        raise error if silence is None else _explained(spec, silence) from silence
    return form.fetched(spec, _download(spec, chosen, quiet=quiet), chosen)


def _list_files(spec: ModelSpec) -> tuple[list[str], Exception | None]:
    """What the repository holds; where the hub does not answer, what the cache holds of it, and why."""
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import RevisionNotFoundError

    try:
        if spec.local_files_only:
            raise _NotAskedError
        # Without a limit, a hub that takes the connection and says nothing is waited for without end.
        limit = constants.HF_HUB_ETAG_TIMEOUT
        info = HfApi().model_info(spec.name, revision=spec.revision, timeout=limit)
    except RevisionNotFoundError as error:
        raise _explained(spec, error) from error
    # huggingface_hub's client library, and with it the class of a lost connection, changes by version.
    except Exception as error:
        if (cached := kept_folder(spec)) is None:
            raise _explained(spec, error) from error
        files = [path.relative_to(cached).as_posix() for path in sorted(cached.rglob("*")) if path.is_file()]
        return files, error
    return [name for one in info.siblings or () if _is_below(name := one.rfilename)], None


def commit_of(spec: ModelSpec, form: FileForm) -> str | None:
    """The commit of a hub's repository that a model means now; it has files of *form* that can be loaded.

    Nothing is downloaded. Where the hub is not to be asked, or does not answer, it is that of the hub's
    cache. None where the hub does not say it.

    :raises ModelError: if the model does not exist, may not be read or has no such files.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import RevisionNotFoundError

    where = spec.name if spec.revision is None else f"{spec.name}@{spec.revision}"
    try:
        if spec.local_files_only:
            raise _NotAskedError
        info = HfApi().model_info(spec.name, revision=spec.revision, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except RevisionNotFoundError as error:
        raise _explained(spec, error) from error
    except Exception as error:
        if (cached := kept_folder(spec)) is None:
            raise _explained(spec, error) from error
        return cached.name
    form.choose(spec, [name for one in info.siblings or () if _is_below(name := one.rfilename)], where)
    return str(info.sha) if info.sha else None


@cache
def file_sizes(spec: ModelSpec) -> Mapping[str, int]:
    """The files of a hub's repository, with the bytes of each; 0 where the hub does not say.

    :raises ModelError: if there is no such repository, or the hub does not answer.
    """
    from huggingface_hub import HfApi, constants

    limit = constants.HF_HUB_ETAG_TIMEOUT
    try:
        info = HfApi().model_info(spec.name, revision=spec.revision, timeout=limit, files_metadata=True)
    except Exception as error:
        raise _explained(spec, error) from error
    said = {one.rfilename: one.size for one in info.siblings or () if _is_below(one.rfilename)}
    return {name: size if isinstance(size, int) and size > 0 else 0 for name, size in said.items()}


def kept_folder(spec: ModelSpec) -> Path | None:
    """Where the hub's cache has files of a repository; None if it has none. The hub is not asked."""
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(spec.name, revision=spec.revision, allow_patterns=[], local_files_only=True)
        )
    except Exception:  # noqa: BLE001  # whatever is wrong with the cache, nothing is known from it
        return None


def kept_file(spec: ModelSpec, name: str) -> int | None:
    """Bytes of a repository's file in the hub's cache; None if it is not there whole."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(spec.name, name, revision=spec.revision)
    return Path(found).stat().st_size if isinstance(found, str) and Path(found).is_file() else None


def hub_cache() -> Path:
    """The folder of the hub's cache."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


@dataclass(frozen=True, slots=True)
class CachedModel:
    """A model of a hub that is in the cache, perhaps not whole."""

    name: str
    size: int
    """Bytes on the disk, of all its revisions."""
    largest: int
    """Bytes of its largest GGUF file, or of all other weights of a revision: what has to fit into memory."""
    files: tuple[str, ...]
    """The names of its weights' files."""


def cached_models() -> list[CachedModel]:
    """The models in the hub's cache, by name; none where there is no cache."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repos = scan_cache_dir().repos
    except (CacheNotFound, OSError, ValueError):  # the last one for a file in its place
        return []
    found = []
    for repo in repos:
        if repo.repo_type != "model":
            continue
        weights = [
            {file.file_name: file.size_on_disk for file in revision.files if _WEIGHTS.search(file.file_name)}
            for revision in repo.revisions
        ]
        ggufs = [size for one in weights for name, size in one.items() if name.lower().endswith(".gguf")]
        others = [
            sum(size for name, size in one.items() if not name.lower().endswith(".gguf")) for one in weights
        ]
        names = dict.fromkeys(name for one in weights for name in sorted(one))
        found.append(
            CachedModel(repo.repo_id, repo.size_on_disk, max([*ggufs, *others], default=0), tuple(names))
        )
    return sorted(found, key=lambda model: model.name)


def _is_below(name: str) -> bool:
    """Whether a file's name leads nowhere but below the folder that it is in."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\\" not in name


def _download(spec: ModelSpec, names: Sequence[str], *, quiet: bool) -> Path:
    from huggingface_hub import snapshot_download

    try:
        with _progress_bars(quiet=quiet):
            patterns = [glob.escape(name) for name in names]
            return Path(
                snapshot_download(
                    spec.name,
                    revision=spec.revision,
                    allow_patterns=patterns,
                    tqdm_class=_transient_bar(),
                    local_files_only=spec.local_files_only,
                )
            )
    except Exception as error:
        raise _explained(spec, error) from error


def _transient_bar() -> type[object]:
    """huggingface_hub's bar, which goes when it is full: another's line may be above or below it."""
    from huggingface_hub.utils import tqdm

    class Transient(tqdm):  # type: ignore[misc]
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, **{**kwargs, "leave": False})

    return Transient


@contextlib.contextmanager
def _progress_bars(*, quiet: bool) -> Iterator[None]:
    """Keep huggingface_hub's bars off where *quiet*, and off what is not a terminal."""
    from huggingface_hub.utils import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    if (sys.stderr.isatty() and not quiet) or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


def _explained(spec: ModelSpec, error: Exception) -> ModelError:
    """What went wrong, and what to do about it."""
    from huggingface_hub import constants, errors

    name, hub = spec.name, constants.ENDPOINT
    login = "log in with 'hf auth login' or set HF_TOKEN"
    offline = bool(constants.HF_HUB_OFFLINE)
    if isinstance(error, errors.GatedRepoError):
        return ModelError(f"{name} is gated: accept its terms at {hub}/{name}, then {login}")
    if isinstance(error, errors.RepositoryNotFoundError):
        return ModelError(
            f"there is no model {name} on {hub}, or it is private: check the name (a folder is written "
            f"./{name}), or {login}"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return ModelError(
            f"{name} has no revision {spec.revision}: name a branch, a tag or a commit that {hub}/{name} has"
        )
    if isinstance(error, errors.HFValidationError):
        return ModelError(f"{name} is not a valid name of a hub's model: {error}")
    if spec.local_files_only:
        return ModelError(
            f"{name} is not complete in the hub's cache ({constants.HF_HUB_CACHE}), and its alias says "
            f"local_files_only: leave that out, or run 'hf download {name}'"
        )
    if offline:
        return ModelError(
            f"{name} is not complete in the hub's cache ({constants.HF_HUB_CACHE}), and "
            "HF_HUB_OFFLINE is set: "
            f"unset it, or run 'hf download {name}' where there is a network"
        )
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        advice = f"check the name and the revision, or whether {hub} is a hub"
        if status in (401, 403):
            advice = f"{login}, with a token that may read it"
        elif status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            advice = "try again later"
        return ModelError(f"{hub} answered {status} when asked for {name}: {advice} ({_first_line(error)})")
    if isinstance(error, OSError) and error.errno is not None and error.filename is not None:
        return ModelError(
            f"cannot keep {name} in {constants.HF_HUB_CACHE}: {error.strerror}; make room, or set HF_HOME to "
            "a folder that can be written"
        )
    return ModelError(
        f"{name} cannot be fetched from {hub}: {_first_line(error.__cause__ or error)}; check the network "
        f"and HF_ENDPOINT, or download it elsewhere and name it by its path"
    )


def _first_line(error: object) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
