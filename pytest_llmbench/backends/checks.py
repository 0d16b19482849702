"""Can this prompt be answered in this context at all?"""

from __future__ import annotations

from pytest_llmbench.errors import EngineError, PromptTooLongError


def check_length(*, prompt: int, output: int, context: int, trained: int | None, option: str) -> None:
    """Raise unless *prompt* and *output* tokens fit into a *context* of that many.

    *trained* is the longest text the model knows; *option* is what sets the context.

    :raises PromptTooLongError: if they do not fit.
    :raises EngineError: if there is nothing to evaluate or to generate.
    """
    if prompt < 1:
        msg = "the prompt has no tokens; give it at least one"
        raise EngineError(msg)
    if output < 1:
        msg = f"max_new_tokens={output}: at least one token has to be generated"
        raise EngineError(msg)
    what = f"the prompt has {prompt} tokens and {output} are to be generated"
    _check_room(what, prompt + output, context, trained, option)


def check_depth(*, tokens: int, room: int, context: int, trained: int | None, option: str) -> None:
    """Raise unless *tokens* that are to lie in the KV cache, and *room* behind them, fit into a *context*.

    :raises PromptTooLongError: if they do not fit.
    :raises EngineError: if there is nothing to evaluate.
    """
    if tokens < 1:
        msg = "no tokens are to lie in the KV cache; give it at least one"
        raise EngineError(msg)
    # An engine evaluates them for the sake of one more.
    room = max(1, room)
    what = f"{tokens} tokens are to lie in the KV cache (depth), with room for {room} behind them"
    _check_room(what, tokens + room, context, trained, option)


def _check_room(what: str, needed: int, context: int, trained: int | None, option: str) -> None:
    if needed <= context:
        return
    remedy = f"shorten them, or set --llm-option {option}={needed}"
    if trained is not None and needed > trained:
        remedy = f"shorten them: the model was trained for {trained}"
    msg = f"{what}, {needed} together, but the context holds {context}; {remedy}"
    raise PromptTooLongError(msg)
