"""Do the codes part what is worth another start from what is not?"""

from __future__ import annotations

from pytest_llmbench.matrix.exits import DO_NOT_RETRY, Exit


def test_every_code_is_either_done_or_for_good_or_worth_another_start() -> None:
    assert set(Exit) - set(DO_NOT_RETRY) == {Exit.DONE, Exit.AGAIN}


def test_the_codes_are_those_that_others_know() -> None:
    assert [int(code) for code in Exit] == [0, 1, 4, 75]
