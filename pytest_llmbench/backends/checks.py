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
    needed = prompt + output
    if needed <= context:
        return
    remedy = f"shorten them, or set --llm-option {option}={needed}"
    if trained is not None and needed > trained:
        remedy = f"shorten them: the model was trained for {trained}"
    msg = (
        f"the prompt has {prompt} tokens and {output} are to be generated, {needed} together, but the "
        f"context holds {context}; {remedy}"
    )
    raise PromptTooLongError(msg)
