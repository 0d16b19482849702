"""Does nothing that somebody else wrote act on a terminal?"""

from __future__ import annotations

import io
import re
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pytest_llmbench import errors
from pytest_llmbench.cli.app import app
from pytest_llmbench.errors import few, one_line, printable
from pytest_llmbench.report.markdown import markdown_table
from pytest_llmbench.report.progress import Progress
from pytest_llmbench.report.table import CasesTable, render
from pytest_llmbench.results.document import write_document
from pytest_llmbench.results.records import Case, ResultsDocument, Session

MakeCase = Callable[..., Case]


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


@pytest.mark.parametrize("color", [False, True])
def test_a_table_has_no_escape_sequence_but_those_of_its_colors(make_case: MakeCase, color: bool) -> None:
    case = make_case(f"test_x.py::test_a[{HOSTILE}]", outcome="failed")
    text = render(CasesTable((case,)), width=100, color=color)
    assert not re.search("[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f\u202e\ud800]", text)
    assert all(re.match(r"\x1b\[[0-9;]*m", text[at.start() :]) for at in re.finditer("\x1b", text))
    assert ("\x1b[" in text) == color
    assert "owned" in text


def test_markdown_has_no_escape_sequence(make_case: MakeCase) -> None:
    text = markdown_table([make_case(f"test_x.py::test_a[{HOSTILE}]")])
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\ud800]", text)


def test_a_document_of_somebody_else_is_shown_without_acting(
    make_case: MakeCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With a terminal at the other end nothing else takes escape sequences out.
    monkeypatch.setenv("FORCE_COLOR", "1")
    failed = make_case("test_x.py::test_a[x]", outcome="failed").model_copy(update={"error": "\x1b[2J\x07no"})
    session = Session(id="20260102T030405Z-0a1b2c3d", started="2026-01-02T03:04:05Z", state="finished")
    write_document(tmp_path / "other.json", ResultsDocument(session=session, cases=[failed]))
    for options in ([], ["--case=test_a"]):
        shown = CliRunner().invoke(app, ["show", str(tmp_path / "other.json"), *options], color=True)
        assert shown.exit_code == 0
        assert r"\x1b[2J\x07no" in shown.output
        assert "\x07" not in shown.output


def test_the_line_of_progress_is_one_line_and_does_nothing_else() -> None:
    stream = io.StringIO()
    Progress(stream).loading("a\nb\x1b[2J")
    assert "\n" not in stream.getvalue()[1:]
    assert "\x1b[2J" not in stream.getvalue()
