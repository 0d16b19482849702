"""Is everything that a page shows escaped, and said for a person?"""

from __future__ import annotations

import pytest

from pytest_llmbench.service.pages.look import address, as_data, environment, moment

HOSTILE = "<script>alert(1)</script>"


def test_a_value_is_escaped() -> None:
    made = environment().from_string("<p>{{ name|clean }}</p>").render(name=f"{HOSTILE}\x1b[2J")

    assert made == "<p>&lt;script&gt;alert(1)&lt;/script&gt;\\x1b[2J</p>"


def test_data_does_not_end_the_element_that_it_stands_in() -> None:
    made = (
        environment()
        .from_string("<script>{{ value|data }}</script>")
        .render(value={"a": f"</script>{HOSTILE}&"})
    )

    assert made.count("</script>") == 1
    assert "<script>alert" not in made


def test_data_is_json() -> None:
    import json

    assert json.loads(as_data({"a": "</b>\u2028&"})) == {"a": "</b>\u2028&"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2026-11-08T03:10:59Z", "8 Nov 2026, 03:10"),
        ("2026-11-08T05:10:59+02:00", "8 Nov 2026, 03:10"),
        (None, "-"),
        ("never", "never"),
    ],
)
def test_a_moment_is_said_in_utc(text: str | None, said: str) -> None:
    assert moment(text) == said


def test_an_address_keeps_what_is_not_changed() -> None:
    given = (("model", "a b"), ("model", "c"), ("after", "x"))

    assert address("/r", given, after=None, sort="ttft") == "/r?model=a+b&model=c&sort=ttft"
    assert address("/r", (), after=None) == "/r"
