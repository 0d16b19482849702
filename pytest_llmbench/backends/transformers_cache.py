"""What does a model of Transformers keep in its KV cache from one ``generate`` to the next?

Transformers keeps nothing by itself: each call makes a cache, unless it is handed one. The one that is handed
over here is of the kind that the call would make, so that a cold call costs what it costs without.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pytest_llmbench.backends.base import Reuse, SavedState
from pytest_llmbench.backends.prefix import common_prefix
from pytest_llmbench.errors import EngineError

if TYPE_CHECKING:
    from types import ModuleType

    import torch
    from transformers import DynamicCache, PreTrainedModel

_CUT = "cut"
_CUTTABLE, _SLIDING = "DynamicLayer", "DynamicSlidingWindowLayer"
_WINDOW = (
    "its KV cache keeps only a window of the text in some layers, and cannot be cut back to where the prompt "
    "left what it held: the prompt was evaluated whole"
)


class KeptCache:
    """The KV cache of one model.

    One whose layers keep all keys and values is cut with ``crop``. One with layers that keep a window of them
    (sliding-window attention) can only be gone on with. Nothing is kept of the others: a static cache, which
    ``compile=True`` makes for each call, and the states of recurrent layers, of which Transformers does not
    promise that a prompt can go on with them.
    """

    def __init__(
        self, torch: ModuleType, library: ModuleType, model: PreTrainedModel, *, static: bool
    ) -> None:
        self._torch = torch
        self._make = library.DynamicCache
        self._config = model.config.get_text_config(decoder=True)
        self._cache: DynamicCache | None = None
        self._held: list[int] = []
        self.refusal = _refusal(self._new(), model, static=static)
        """Why nothing is ever kept; None where it is."""
        self._window = self.refusal is None and any(
            type(layer).__name__ == _SLIDING for layer in self._new().layers
        )
        self.reused = Reuse(None, _CUT, "no prompt was evaluated")
        """What :meth:`take` found for the last prompt."""

    def _new(self) -> DynamicCache:
        return self._make(config=self._config)

    def clear(self) -> None:
        """Hold nothing."""
        self._cache, self._held = None, []

    def take(self, prompt: list[int]) -> DynamicCache | None:
        """What ``generate`` is to be handed for *prompt*: the cache, cut down to what it shares with it.

        Nothing is held until :meth:`keep`: a call that fails leaves a cache of which nothing is known. None
        where ``generate`` is to make its own. The last token of a prompt is always evaluated again.
        """
        if self.refusal is not None:
            self.reused = Reuse(None, _CUT, self.refusal)
            return None
        cache, held = self._cache, self._held
        self.clear()
        self.reused = Reuse(0, _CUT)
        shared = 0 if cache is None else common_prefix(held, prompt[:-1])
        if cache is None or not shared:
            return self._new()
        if shared < len(held):
            if self._window:
                self.reused = Reuse(None, _CUT, _WINDOW)
                return self._new()
            # A positive number is refused by newer releases, and by older ones it is what is to remain.
            cache.crop(shared - len(held))
        self.reused = Reuse(shared, _CUT)
        return cache

    def keep(self, cache: DynamicCache | None, prompt: Sequence[int], output: Sequence[int]) -> None:
        """Hold *cache* after it was used for *prompt* and the *output* that came of it."""
        if cache is None:
            return
        # The last token was not evaluated: its successor was not asked for.
        held = [*prompt, *output[:-1]]
        length = cache.get_seq_length()
        if length != len(held):
            self.refusal = f"its KV cache held {length} tokens after a text of {len(held)}"
            return
        self._cache, self._held = cache, held

    def save(self) -> SavedState:
        """A copy of the cache, on the device that it is on.

        :raises EngineError: if nothing is kept of this model's cache.
        """
        if self.refusal is not None or self._cache is None:
            msg = f"the KV cache cannot be copied: {self.refusal or 'it holds nothing'}"
            raise EngineError(msg)
        saved = copy.deepcopy(self._cache)
        size = sum(one.untyped_storage().nbytes() for one in self._tensors(saved))
        return SavedState(tuple(self._held), size, saved)

    def restore(self, state: SavedState) -> None:
        """Hold a copy of the copy: what is generated next must not change it."""
        self.clear()
        self._cache, self._held = copy.deepcopy(state.data), list(state.tokens)

    def _tensors(self, cache: DynamicCache) -> Iterator[torch.Tensor]:
        for layer in cache.layers:
            yield from (value for value in vars(layer).values() if self._torch.is_tensor(value))


def _refusal(cache: Any, model: PreTrainedModel, *, static: bool) -> str | None:
    """Why nothing can be kept of a model's KV cache; None if it can."""
    if static:
        return "each call makes a static KV cache of its own (transformers.compile=true)"
    if not getattr(model, "_supports_default_dynamic_cache", lambda: True)():
        return f"{type(model).__name__} makes a cache of its own"
    kinds = {type(layer).__name__ for layer in cache.layers}
    others = sorted(kinds - {_CUTTABLE, _SLIDING})
    if others:
        return f"its KV cache has parts that cannot be cut back ({', '.join(others)})"
    return None
