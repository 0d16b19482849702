"""A store with a matrix, made once: each test has a copy."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_llmbench.results.index.build import Index
from pytest_llmbench.results.store import Store
from tests.fakes.a_matrix import write_matrix

CopyStore = Callable[[Path], None]


@pytest.fixture(scope="session")
def _matrix_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = Store(tmp_path_factory.mktemp("matrix") / "store")
    write_matrix(store, done=0.8, failed=5)
    index = Index.open(store)
    index.update()
    index.close()
    return store.path


@pytest.fixture
def copy_matrix(_matrix_store: Path) -> CopyStore:
    """Puts a store where there is none yet: of its 108 cells five failed, 22 are left, 81 are measured."""

    def copy(where: Path) -> None:
        shutil.copytree(_matrix_store, where)

    return copy
