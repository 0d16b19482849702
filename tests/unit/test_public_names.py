"""Is every public name what it is said to be, whatever else was imported?"""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import pytest_llmbench

FOLDER = Path(pytest_llmbench.__file__).parent

IMPORT_ALL = """
import pkgutil
from importlib import import_module
from types import ModuleType

import pytest_llmbench

def nothing(name):
    pass

for module in pkgutil.walk_packages(pytest_llmbench.__path__, "pytest_llmbench.", onerror=nothing):
    if module.name.rpartition(".")[2] == "__main__":
        continue
    try:
        import_module(module.name)
    except ImportError:
        pass  # an engine's own module, where the engine is not installed

for name in pytest_llmbench.__all__:
    assert not isinstance(getattr(pytest_llmbench, name), ModuleType), name
assert callable(pytest_llmbench.load)
assert pytest_llmbench.load is pytest_llmbench.read_results
"""


def test_public_names_stay_what_they_are_when_every_module_was_imported() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_module_of_the_root_bears_a_public_name() -> None:
    modules = {path.stem for path in FOLDER.glob("*.py")} | {p.name for p in FOLDER.iterdir() if p.is_dir()}
    assert not modules & set(pytest_llmbench.__all__)


def test_every_public_name_has_one_home_and_every_home_is_public() -> None:
    homed = [name for names in pytest_llmbench._HOMES.values() for name in names]
    assert sorted(homed) == sorted(pytest_llmbench.__all__)
    for home, names in pytest_llmbench._HOMES.items():
        for name in names:
            assert getattr(pytest_llmbench, name) is getattr(import_module(home), name)


def test_a_name_that_is_not_public_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'loads'"):
        _ = pytest_llmbench.loads


def test_dir_lists_the_public_names_before_any_was_used() -> None:
    code = "import pytest_llmbench as p; print([n for n in sorted(dir(p)) if n[0] != '_'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(sorted(pytest_llmbench.__all__))
