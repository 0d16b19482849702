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

before = {name: getattr(pytest_llmbench, name) for name in FIRST}
seen = 0
for module in pkgutil.walk_packages(pytest_llmbench.__path__, "pytest_llmbench.", onerror=import_module):
    if module.name.rpartition(".")[2] == "__main__":
        continue
    seen += 1
    try:
        import_module(module.name)
    except ModuleNotFoundError as error:
        # An engine's own module, where the engine is not installed.
        assert error.name and error.name.partition(".")[0] != "pytest_llmbench", f"{module.name}: {error}"

for name in pytest_llmbench.__all__:
    assert not isinstance(getattr(pytest_llmbench, name), ModuleType), name
for name, value in before.items():
    assert getattr(pytest_llmbench, name) is value, name
assert callable(pytest_llmbench.load)
assert pytest_llmbench.load is pytest_llmbench.read_results
print(seen)
"""


@pytest.mark.parametrize("asked_first", [True, False], ids=["used before", "not used before"])
def test_public_names_stay_what_they_are_when_every_module_was_imported(asked_first: bool) -> None:
    first = list(pytest_llmbench.__all__) if asked_first else []
    code = f"FIRST = {first!r}\n{IMPORT_ALL}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    modules = [p for p in FOLDER.rglob("*.py") if p.stem not in ("__init__", "__main__")]
    assert int(done.stdout) >= len(modules)


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
