"""What happens in the load client's own process?

``python -m pytest_llmbench.client.worker FD``: the event loop has this process for itself, so
that neither pytest nor a plugin can make it late. What arrived is read only when the level is over.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from pytest_llmbench import errors
from pytest_llmbench.client.client import Client, LevelRecording
from pytest_llmbench.client.patience import Pulse
from pytest_llmbench.client.plan import LoadPlan, LoadResult, RequestResult
from pytest_llmbench.client.stream import read_result
from pytest_llmbench.processes.serve import LOAD_CLIENT, serve
from pytest_llmbench.processes.wire import Json


def handle(request: Json, say: Callable[[Json], None]) -> Json:
    """Answer one request: run a level, or make ready to close."""
    if request["op"] == "close":
        return {}
    return {"result": run(LoadPlan.from_json(request["plan"]), Pulse(say)).to_json()}


def run(plan: LoadPlan, pulse: Pulse) -> LoadResult:
    """Send the plan's requests, and read what came back.

    :param pulse: called again and again with how far it is.
    :raises errors.UsageError: for a plan that cannot be sent: no key, no tokenizer, too few files.
    """
    count = None if plan.endpoint.tokenizer is None else token_counter(plan.endpoint.tokenizer)
    recording = Client(plan, pulse).run()
    requests = tuple(_results(recording, count, pulse))
    return LoadResult(requests, recording.started, recording.ended, recording.client, recording.abandoned)


def _results(
    recording: LevelRecording, count: Callable[[str], int] | None, pulse: Pulse
) -> list[RequestResult]:
    responses = recording.responses
    read = partial(read_result, started=recording.started, count=count)
    found: list[RequestResult] = []
    keep_text = True
    for raw in sorted(responses, key=lambda one: one.number):
        pulse(len(responses), len(responses))
        wanted = keep_text and not raw.warmup
        result = read(raw, recording.requests[raw.number], keep_text=wanted)
        keep_text = keep_text and not (wanted and result.ok)
        raw.body.clear()
        found.append(result)
    return found


def token_counter(folder: str) -> Callable[[str], int]:
    """Counts the tokens of a text by the ``tokenizer.json`` in *folder*, special tokens left out.

    :raises errors.UsageError: if it cannot be read.
    """
    path = Path(folder) / "tokenizer.json"
    try:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(path))
    except ImportError:
        msg = "server.tokenizer needs the package tokenizers: pip install tokenizers"
        raise errors.UsageError(msg) from None
    except Exception as error:  # noqa: BLE001  # the library raises bare Exception for a bad file
        msg = f"server.tokenizer={folder}: {path} cannot be read: {error}"
        raise errors.UsageError(msg) from None
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


if __name__ == "__main__":
    serve(int(sys.argv[1]), handle, LOAD_CLIENT)
