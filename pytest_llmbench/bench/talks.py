"""What is sent in a load level of conversations: which turns, and how many?"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytest_llmbench.client.plan import History, Request
from pytest_llmbench.errors import UsageError, warn
from pytest_llmbench.processes.wire import Json
from pytest_llmbench.workloads.lengths import parse_length
from pytest_llmbench.workloads.scenarios.conversation import Conversation, Made, Turn
from pytest_llmbench.workloads.talks import MadeTalk, SentTurn, Talks

if TYPE_CHECKING:
    from pytest_llmbench.cases.case import LoadLevel
    from pytest_llmbench.settings.case import CaseSettings
    from pytest_llmbench.workloads.datasets import Dataset
    from pytest_llmbench.workloads.requests import Item, TextOf

_FEWEST_TURNS = 64
_GENERATIONS = 2
"""Conversations in the place of each that begins first: the window then is longer than one of them."""


@dataclass(frozen=True, slots=True)
class Given:
    """Conversations that are not made."""

    conversations: tuple[Conversation, ...]
    """At least one."""
    digest: str
    """Equal ones, equal work."""

    @classmethod
    def of(cls, conversations: tuple[Conversation, ...]) -> Given:
        """Those of a call.

        :raises UsageError: for one that cannot be held.
        """
        for one in conversations:
            if (fault := one.fault()) is not None:
                msg = f"the conversation {one.name}: {fault[1]}"
                raise UsageError(msg)
        told = "/".join(one.digest for one in conversations)
        digest = told if len(conversations) == 1 else f"sha256:{hashlib.sha256(told.encode()).hexdigest()}"
        return cls(conversations, digest)

    @classmethod
    def of_dataset(cls, dataset: Dataset) -> Given:
        """Those of a data set; an entry that has a length only is one of one turn."""
        return cls(tuple(map(_conversation, dataset.items)), dataset.digest)


def _conversation(item: Item) -> Conversation:
    found = item.conversation
    if found is None:
        turn = Turn(user=Made(item.prompt_tokens or 1))
        found = Conversation(name="recorded", history="recorded", turns=(turn,))
    if item.output_tokens is None:
        return found
    return replace(
        found, turns=tuple(replace(turn, max_new_tokens=item.output_tokens) for turn in found.turns)
    )


@dataclass(frozen=True, slots=True)
class TalkLevel:
    """The conversations of one level."""

    values: CaseSettings
    talks: Talks
    at_once: int
    digest: str | None
    """Of the conversations that were given; None for made ones."""

    @classmethod
    def of(cls, values: CaseSettings, load: LoadLevel, given: Given | None, text_seed: int) -> TalkLevel:
        """What a level of conversations holds.

        :param given: conversations that are held one after the other and again; None for made ones.
        :raises UsageError: for conversations in an open loop.
        """
        at_once = load.conversations or load.concurrency
        if at_once is None:
            msg = (
                "conversations are held in a closed loop, where each turn waits for the answer before it: "
                "name conversations=N or concurrency=N, and no request_rate"
            )
            raise UsageError(msg)
        source: tuple[Conversation, ...] | MadeTalk
        if given is None:
            source = MadeTalk(
                parse_length(values.turns), parse_length(values.prompt_length), values.shared_prefix
            )
        else:
            source = tuple(
                replace(one, placement=values.placement or one.placement) for one in given.conversations
            )
        talks = Talks(
            source=source,
            output_tokens=values.max_new_tokens,
            output_length=None if values.output_length is None else parse_length(values.output_length),
            think_time=values.think_time,
            seed=values.seed,
            text_seed=text_seed,
            unique=not values.prefix_cache,
        )
        return cls(values, talks, at_once, None if given is None else given.digest)

    @property
    def history(self) -> History:
        """Whose answers the turns have before them."""
        return self.values.history or "recorded"

    def requests(
        self, text: int, text_of: TextOf | None, *, alone: float | None, once: bool, label: str
    ) -> tuple[tuple[Request, ...], int]:
        """The level's requests, and how many of them come first and are not measured.

        :param text: of the texts: another number, other words.
        :param alone: seconds that a request takes that has the server for itself, where the level has a
            duration and no number of requests.
        :param once: whether one conversation is all.
        :param label: what warnings call the case.
        :raises UsageError: if their texts are more than there is room for.
        """
        values, talks = self.values, replace(self.talks, text_seed=self.talks.text_seed + text)
        wanted = values.requests
        fewest = self.at_once * _GENERATIONS
        if alone is not None:
            fewest = self._in_time(values.duration or 0.0, alone)
        warmup = values.warmup_requests or 0

        def enough(conversations: int, turns: int) -> bool:
            if once:
                return conversations >= 1
            if wanted is not None:
                return turns >= wanted
            return conversations >= fewest and turns >= _FEWEST_TURNS

        sent, ahead, cut = talks.sent(
            0 if once else self.at_once,
            enough,
            text_of,
            warm=lambda turns: once or turns >= warmup,
            may_be_cut=alone is not None,
        )
        if cut:
            warn(
                f"{label}: the client has room for {sent[-1].conversation} conversations: the level may end "
                "before its duration"
            )
        return _requests(sent), ahead

    def _in_time(self, duration: float, alone: float) -> int:
        """So many conversations are enough for a *duration*: none is quicker in company than alone."""
        turns, thinks = self.talks.fewest
        return self.at_once * (1 + math.ceil(_GENERATIONS * duration / (turns * alone + thinks)))

    def protocol(self) -> Json:
        """What of them changes the work."""
        values = self.values
        made = self.digest is None
        return {
            "conversations": self.at_once,
            "history": self.history,
            "prompts": self.digest,
            "placement": values.placement,
            "think_time": values.think_time,
            "made_turns": values.turns if made else None,
            "prompt_length": values.prompt_length if made else None,
            "shared_prefix": (values.shared_prefix or None) if made else None,
            "output_length": values.output_length,
        }


def _requests(sent: list[SentTurn]) -> tuple[Request, ...]:
    return tuple(
        Request(
            one.output_tokens,
            messages=one.messages,
            follows=None if one.begins else number - 1,
            think_time=one.think_time,
            conversation=one.conversation,
            turn=one.turn,
        )
        for number, one in enumerate(sent)
    )
