"""What is built from C, and where?

Everything else about the package is in pyproject.toml.
"""

import sys
import sysconfig

from setuptools import Extension, setup

linux = sys.platform == "linux"
# One build for every Python from 3.11 on; one without its lock has no such interface.
stable = not sysconfig.get_config_var("Py_GIL_DISABLED")

native = Extension(
    "pytest_llmbench.client._native",
    ["pytest_llmbench/client/_native.c"],
    depends=["pytest_llmbench/client/_chunks.h"],
    define_macros=[("Py_LIMITED_API", "0x030B0000")] if stable else [],
    py_limited_api=stable,
    # Without a compiler the package is whole: it reads a load in Python then.
    optional=True,
)

setup(
    ext_modules=[native] if linux else [],
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if linux and stable else {},
)
