"""Does the part that is written in C do what the part in Python does, and refuse what it cannot?

What it receives with is in test_receiver.py, beside its twin.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from array import array
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pytest_llmbench.client
from pytest_llmbench.client import native

CAN_BUILD = (
    sys.platform.startswith("linux")
    and shutil.which("cc") is not None
    and Path(sysconfig.get_path("include"), "Python.h").exists()
)
needs_native = pytest.mark.skipif(native.skip_chunks is None, reason="the native part was not built")

chunks = st.lists(
    st.one_of(
        st.binary(max_size=30).map(lambda data: b"%x\r\n%s\r\n" % (len(data), data)),
        st.binary(max_size=300).map(lambda data: b"%03X\r\n%s\r\n" % (len(data), data)),
        st.sampled_from([b"0\r\n\r\n", b"5;x=y\r\nhello\r\n", b"5\nhello\r\n", b"\r\n", b"f" * 16]),
        st.binary(max_size=5),
    ),
    max_size=6,
).map(b"".join)


@needs_native
@given(chunks, st.integers(0, 40))
def test_chunks_are_passed_over_as_far_as_they_are_whole_and_plain(data: bytes, at: int) -> None:
    assert native.skip_chunks is not None
    end = native.skip_chunks(data, at)
    rest = data[at:end]
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        assert length > 0
        assert rest[length : length + 2] == b"\r\n"
        rest = rest[length + 2 :]
    # And no further.
    size, line, rest = data[end:].partition(b"\r\n")
    if line and size and len(size) <= 15 and all(chr(one) in "0123456789abcdefABCDEF" for one in size):
        length = int(size, 16)
        assert length == 0 or rest[length : length + 2] != b"\r\n"


@needs_native
def test_what_cannot_be_passed_over_is_refused_or_left() -> None:
    assert native.skip_chunks is not None
    assert native.receive is not None
    assert [native.skip_chunks(b"1\r\nx\r\n", at) for at in (-1, 0, 6, 100)] == [-1, 6, 6, 100]
    for wrong in ((), ("text", 0), (b"", None), (b"", 2**70)):
        with pytest.raises((TypeError, OverflowError)):
            native.skip_chunks(*wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        native.receive(0, [], array("q"), 0)  # type: ignore[arg-type]
    with pytest.raises(OSError, match="Bad file descriptor"):
        native.receive(-1, {}, array("q"), 0)


@pytest.mark.skipif(not CAN_BUILD, reason="there is no Linux, C compiler or Python.h")
def test_the_native_part_was_built_and_can_be_left_out() -> None:
    ask = "from pytest_llmbench.client.receiver import fastest; print(fastest())"

    def fastest(**environment: str) -> str:
        whole = {**{k: v for k, v in os.environ.items() if k != native.NO_EXTENSIONS}, **environment}
        command = [sys.executable, "-c", ask]
        return subprocess.run(command, env=whole, capture_output=True, text=True, check=True).stdout.strip()

    assert fastest() == "native"
    assert fastest(**{native.NO_EXTENSIONS: "1"}) == "python"


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
@pytest.mark.parametrize("bits", [32, 64])
def test_a_chunk_of_any_size_is_measured_without_overflow(tmp_path: Path, bits: int) -> None:
    """Compiled with the integers of such a system; a program in which one overflows ends with a signal."""
    source, program = tmp_path / "chunks.c", tmp_path / "chunks"
    source.write_text(
        f"""
        #include <stdint.h>
        #include <stdio.h>
        #include <string.h>
        typedef int{bits}_t Py_ssize_t;
        #include "_chunks.h"
        int main(int count, char **texts)
        {{
            for (int i = 1; i < count; i++) {{
                char data[100];
                int length = snprintf(data, sizeof data, "%s\\r\\nx\\r\\n", texts[i]);
                printf("%d\\n", (int)pass_chunks(data, length, 0));
            }}
            return 0;
        }}
        """
    )
    include = Path(pytest_llmbench.client.__file__).parent
    build = ["cc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-fsanitize=signed-integer-overflow"]
    build += ["-fsanitize-undefined-trap-on-error", f"-I{include}", "-o", str(program), str(source)]
    subprocess.run(build, check=True)
    # Of the third, 32 bits are those of a chunk of one byte, which is there.
    sizes = ["1", "7fffffff", "100000001", "fffffffffffffff", "7ffffffffffffff", "000000000000001"]
    done = subprocess.run([str(program), *sizes], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["6", "0", "0", "0", "0", "20"]


@needs_native
@pytest.mark.parametrize("size", [b"7fffffff", b"fffffffffffffff", b"100000001"])
def test_a_chunk_that_is_larger_than_any_memory_is_left(size: bytes) -> None:
    assert native.skip_chunks is not None
    assert native.skip_chunks(size + b"\r\nx\r\n", 0) == 0
