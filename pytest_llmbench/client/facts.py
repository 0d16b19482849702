"""What is known of a request, and of the client that sent it, beside when its tokens came?

Each fact is one field here. It is set where it is measured, crosses the socket from the client's process,
and is a key of the results document and of its JSON Schema by being a field: the records of
:mod:`pytest_llmbench.results.records` inherit these classes. So a field that is added gets a default, for
documents that were written before it, and a word such as a ``kind`` is a plain string, so that one that a
newer version adds can be read.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class RequestFacts:
    """One request. Seconds count from when it was due: at a request rate by its schedule, in a closed loop
    when it was sent."""

    number: int
    """Its place in the plan."""
    at: float
    """Seconds from the level's start until it was sent: its first byte was handed to the kernel, of the last
    attempt."""
    send_lag: float | None = None
    """Seconds by which it was sent later than it was due; None in a closed loop."""
    status: int | None = None
    """HTTP status; None where no response came."""
    chunks: int | None = None
    """Chunks that brought tokens, those of reasoning too; ``token_times`` has one time for each."""
    reasoning_chunks: int = 0
    reasoning_tokens: int | None = None
    """As the server counted them; None where it did not say."""
    first_content: float | None = None
    """Seconds until the first chunk that was not reasoning; None if none came."""
    ignored_parts: tuple[str, ...] = ()
    """Of content in parts: the types of those without text, which were left out."""
    token_source: str | None = None
    """Who counted the tokens: the server (``usage``), the model's ``tokenizer``, or neither (``chunks``, each
    counts as one); None where none came."""
    cached_tokens: int | None = None
    """Of the prompt's tokens, how many the server says it had from its cache; None where it did not say.
    vLLM does not say 0: in a level in which a server said it of another request, a round takes it for 0."""
    cached_source: str | None = None
    """Where it said so: ``usage``, in its ``prompt_tokens_details``, or llama-server's ``timings``."""
    conversation: int | None = None
    """Which of the level's conversations it is a turn of; None where it is none."""
    turn: int | None = None
    """Which turn of its conversation, from 1 on."""
    attempts: int = 1
    new_connection: bool | None = None
    """Whether its connection was made for it."""


@dataclass(frozen=True, kw_only=True)
class ClientFacts:
    """The client itself at one level."""

    stamps: str
    """Who took the arrival times: the ``kernel``, or the client when it read (``user``)."""
    stamps_reason: str | None = None
    """Why some arrivals, or all, are not the kernel's; None if all are."""
    cpu: float | None = None
    """Seconds of CPU that it used while the level ran."""
    reads: int | None = None
    """How often it read from a socket meanwhile."""
    read_lag: float | None = None
    """Seconds within which 99 of 100 segments were read after they had arrived; None for few of them, or
    where only the client took the time of their arrival."""
    receiver: str = "python"
    """What the segments were read with: C (``native``), or ``python`` where that was not built, which takes
    more CPU."""
    real_time: bool = False
    """Whether it ran before what is not in real time, as far as the system allowed that."""
    processes: int = 1
    """Among how many processes of the client the level was divided."""
