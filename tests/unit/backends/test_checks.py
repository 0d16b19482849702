"""Is what does not fit into the context told before the engine is asked?"""

from __future__ import annotations

import pytest

from pytest_llmbench.backends.checks import check_depth, check_length
from pytest_llmbench.errors import EngineError, PromptTooLongError


def check(prompt: int, output: int) -> None:
    check_length(prompt=prompt, output=output, context=100, trained=200, option="llamacpp.n_ctx")


def test_what_just_fits_is_let_through() -> None:
    check(90, 10)
    with pytest.raises(PromptTooLongError):
        check(90, 11)


def test_too_much_names_the_counts_and_the_option() -> None:
    with pytest.raises(PromptTooLongError, match=r"90 tokens and 20 .* holds 100; .*llamacpp\.n_ctx=110"):
        check(90, 20)


def test_beyond_what_the_model_knows_no_option_is_advised() -> None:
    with pytest.raises(PromptTooLongError, match="trained for 200"):
        check(190, 20)


@pytest.mark.parametrize(("prompt", "output"), [(0, 1), (1, 0)])
def test_nothing_to_do_is_an_error(prompt: int, output: int) -> None:
    with pytest.raises(EngineError):
        check(prompt, output)


def test_a_depth_needs_room_for_what_comes_behind_it() -> None:
    def deep(tokens: int, room: int) -> None:
        check_depth(tokens=tokens, room=room, context=100, trained=200, option="llamacpp.n_ctx")

    deep(90, 10)
    with pytest.raises(PromptTooLongError, match=r"90 tokens .*depth.* room for 20 .*llamacpp\.n_ctx=110"):
        deep(90, 20)
    with pytest.raises(EngineError):
        deep(0, 10)
