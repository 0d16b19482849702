"""Does no text that came from elsewhere act on a terminal?"""

from __future__ import annotations

import io
import re
import sys
import unicodedata

import pytest

from pytest_llmbench import errors
from pytest_llmbench.errors import few, one_line, printable
from pytest_llmbench.report.progress import Progress

HOSTILE = "\x1b]0;owned\x07 \x1b[2J \x9b31m \u202egnp.exe \u2028 \ud800 \x00 back\x08 \rover"


def test_what_acts_on_a_terminal_or_hides_is_escaped() -> None:
    shown = printable(HOSTILE)
    assert shown == (r"\x1b]0;owned\x07 \x1b[2J \x9b31m \u202egnp.exe \u2028 \ud800 \x00 back\x08 \x0dover")
    shown.encode()
    assert printable(shown) == shown


def test_lines_words_and_pictures_stay_as_they_are() -> None:
    text = "größer\n\tیک\u200cخط 👩\u200d💻 日本\xa0語"
    assert printable(text) == text
    assert printable("a\r\nb") == "a\nb"


def test_every_character_that_controls_or_hides_is_known() -> None:
    # Number signs of Arabic and Kaithi are of category Cf and are seen; joiners make words.
    seen = {0x200C, 0x200D, *range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD}
    # Joiners of hieroglyphs, and shapers of shorthand.
    seen |= {*range(0x13430, 0x13440), *range(0x1BCA0, 0x1BCA4)}
    left = [
        hex(code)
        for code in range(sys.maxunicode + 1)
        if unicodedata.category(chr(code)) in ("Cc", "Cf", "Cs", "Zl", "Zp")
        and code not in seen
        and chr(code) not in "\n\t"
        and printable(chr(code)) == chr(code)
    ]
    assert left == []


def test_a_long_text_is_one_line_of_a_known_length() -> None:
    assert one_line(" a \n\x1b[31m  b ") == r"a \x1b[31m b"
    assert one_line("x" * 10**6, 20) == "x" * 20 + "…"
    assert len(one_line("\x1b" * 10**6, 20)) == 21
    assert one_line(" " * 1000 + "x", 20) == "…"


def test_a_long_list_is_a_few_names_and_a_number() -> None:
    assert few(["a", "b"]) == "a, b"
    assert few([f"m{n}" for n in range(10**6)], 3) == "m0, m1, m2 and 999997 more"
    assert len(few(["x" * 10**6])) == 101


@pytest.mark.parametrize(
    "kind",
    [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)],
)
def test_every_error_and_warning_of_ours_is_printable(kind: type[Exception]) -> None:
    error = kind(f"the server says {HOSTILE}")
    error.add_note(HOSTILE)
    shown = (
        str(error) + repr(error) + "".join(error.__notes__ if isinstance(error, errors.LLMBenchError) else "")
    )
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\ud800]", shown)
    assert "owned" in shown


def test_what_a_process_of_ours_adds_to_an_error_is_printable() -> None:
    error = errors.EngineError("x")
    error.add_note(f"In the engine's process:\n{HOSTILE}")
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\ud800]", error.__notes__[0])


def test_the_line_of_progress_is_one_line_and_does_nothing_else() -> None:
    stream = io.StringIO()
    Progress(stream).loading("a\nb\x1b[2J")
    assert "\n" not in stream.getvalue()[1:]
    assert "\x1b[2J" not in stream.getvalue()
