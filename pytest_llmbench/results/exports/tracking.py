"""How does a session come to an MLflow server, whole and once, whatever breaks on the way?

By its REST API, with what the core has. Runs are found again by their tags: a finished one is left alone and
one that is still running is gone on with, so that a command that failed can simply be repeated. Nothing is
kept for later here, since the store has everything.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from pytest_llmbench.errors import UsageError, one_line
from pytest_llmbench.processes.wire import Json
from pytest_llmbench.results.exports.mlflow import (
    PARENT,
    SESSION,
    Key,
    Run,
    batches,
    case_run,
    key_of,
    session_run,
)
from pytest_llmbench.results.records import ResultsDocument
from pytest_llmbench.secrets import learn, learn_user
from pytest_llmbench.servers.ask import Access, Answer, NoAnswerError, get, post
from pytest_llmbench.servers.urls import read_url

DEFAULT_EXPERIMENT = "pytest-llmbench"
TOKEN, USER, PASSWORD = "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"

TIMEOUT = 30.0
"""Seconds for one request."""
WAITS = (0.5, 1.0, 2.0, 4.0)
"""Seconds before each further try."""
PAGE = 20
"""Runs in one answer, which has all that is known of each."""
MAX_PAGES = 1000
MAX_NAME = 500
"""Characters of an experiment's name."""

_API = "/api/2.0/mlflow/"
_OVER = ("FINISHED", "FAILED", "KILLED")


@dataclass(slots=True)
class Sent:
    """What became of the cases."""

    experiment: str
    """The id that the server gave it."""
    new: int = 0
    """Cases whose run was made, or gone on with."""
    there: int = 0
    """Cases that the server had before."""


class BrokenOffError(UsageError):
    """The server did not answer any more; sending again goes on."""


class _RefusedError(Exception):
    """The server's answer is an error."""

    def __init__(self, code: str, said: str) -> None:
        super().__init__(said)
        self.code = code
        self.said = said


class _LostError(Exception):
    """No answer came, or one that a later try may better; whether the server did it is not known."""


class Tracking:
    """An MLflow server.

    The token in ``MLFLOW_TRACKING_TOKEN``, or the user and password in ``MLFLOW_TRACKING_USERNAME`` and
    ``MLFLOW_TRACKING_PASSWORD``, are sent where they are set; a URL may have a user and password too.

    :param url: ``http://HOST:PORT[/PATH]``.
    :param sleep: what waits between tries.
    :raises UsageError: if the URL is not one.
    """

    def __init__(self, url: str, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._url = read_url(url, "--to mlflow")
        self._sleep = sleep
        self._answered = False
        given = self._url.user
        user, password = os.environ.get(USER, ""), os.environ.get(PASSWORD, "")
        self._token = TOKEN if os.environ.get(TOKEN, "").strip() else None
        if self._token is None and user and password:
            learn(password)
            learn_user(quote(user, safe=""), quote(password, safe=""))
            given = f"{user}:{password}"
        self._login = "" if given is None else "{}:{}@".format(*map(_quoted, given.partition(":")[::2]))

    @property
    def shown(self) -> str:
        """Its address, without any secret."""
        return self._url.shown

    def send(self, document: ResultsDocument, experiment: str = DEFAULT_EXPERIMENT) -> Sent:
        """Have the server hold the session and each of its cases once.

        :raises BrokenOffError: if no answer came; what is there by then stays.
        :raises UsageError: saying what the server, or what was given, has wrong.
        """
        try:
            where = self._experiment(experiment)
            known = self._runs(where, document.session.id)
            parent = session_run(document)
            parent_id, over = self._begun(where, parent, known, {})
            if not over:
                self._fill(parent_id, parent)
            sent = Sent(where)
            for case in document.cases:
                run = case_run(document, case)
                run_id, done = self._begun(where, run, known, {PARENT: parent_id})
                if done:
                    sent.there += 1
                    continue
                self._fill(run_id, run)
                self._end(run_id, run)
                sent.new += 1
            if not over:
                self._end(parent_id, parent)
        except _LostError as error:
            msg = f"{self.shown}: {error}"
            raise BrokenOffError(msg) from None
        except _RefusedError as error:
            msg = f"{self.shown}: the server refuses it: {_said(error)}"
            raise UsageError(msg) from None
        return sent

    # -- runs --------------------------------------------------------------------------------------

    def _experiment(self, name: str) -> str:
        """The id of the experiment called *name*, which is made where there is none."""
        if not name.strip() or len(name) > MAX_NAME:
            msg = f"--experiment: a name has 1 to {MAX_NAME} characters"
            raise UsageError(msg)
        found = self._named(name)
        if found is None:
            try:
                return _text(self._call("experiments/create", {"name": name}), "experiment_id")
            except _RefusedError as error:
                # Another one made it meanwhile, or the try whose answer was lost.
                if error.code != "RESOURCE_ALREADY_EXISTS" or (found := self._named(name)) is None:
                    raise
        if found.get("lifecycle_stage") == "deleted":
            msg = (
                f"--experiment {name}: it is deleted on {self.shown}; "
                "restore it there, or use another name with --experiment"
            )
            raise UsageError(msg)
        return _text(found, "experiment_id")

    def _named(self, name: str) -> Json | None:
        try:
            answer = self._call(f"experiments/get-by-name?experiment_name={quote(name, safe='')}")
        except _RefusedError as error:
            if error.code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        found: Json = _part(answer, "experiment")
        return found

    def _runs(self, experiment: str, session: str) -> dict[Key, tuple[str, bool]]:
        """The runs of *session* by the case that each is: the id, and whether it is over."""
        question: Json = {
            "experiment_ids": [experiment],
            # An id is of digits and letters; what a foreign document has in its place ends no text.
            "filter": f'tags.`{SESSION}` = "{session.replace(chr(34), "")}"',
            "max_results": PAGE,
        }
        found: dict[Key, tuple[str, bool]] = {}
        for _ in range(MAX_PAGES):
            answer = self._call("runs/search", question)
            for run in _part(answer, "runs", list):
                info, tags = _part(run, "info"), _tags_of(run)
                over = info.get("status") in _OVER
                # Of two, made by two commands at once, the one that is over holds.
                if over or key_of(tags) not in found:
                    found[key_of(tags)] = (_text(info, "run_id"), over)
            if not (token := answer.get("next_page_token")):
                return found
            question = {**question, "page_token": token}
        msg = (
            f"{self.shown}: it has more than {MAX_PAGES * PAGE} runs of session {session}; remove them there"
        )
        raise UsageError(msg)

    def _begun(
        self, experiment: str, run: Run, known: dict[Key, tuple[str, bool]], more: Mapping[str, str]
    ) -> tuple[str, bool]:
        """The id of the run, which is made where there is none, and whether it is over."""
        if run.key in known:
            return known[run.key]
        question: Json = {
            "experiment_id": experiment,
            "run_name": run.name,
            "start_time": run.start,
            "tags": [{"key": key, "value": value} for key, value in {**run.tags, **more}.items()],
        }

        def lost() -> Json | None:
            # The answer was lost, and the run may be there: a second one would never go away.
            known.update(self._runs(experiment, run.tags[SESSION]))
            return {"run": {"info": {"run_id": known[run.key][0]}}} if run.key in known else None

        made = self._call("runs/create", question, lost)
        known[run.key] = (_text(_part(_part(made, "run"), "info"), "run_id"), False)
        return known[run.key]

    def _fill(self, run_id: str, run: Run) -> None:
        for batch in batches(run):
            try:
                self._call("runs/log-batch", {"run_id": run_id, **batch})
            except _RefusedError as error:
                # Such as a parameter that another version of this program sent before, with another value.
                error.said = f"{one_line(error.said, 200)}; to send run {run_id} anew, delete it there"
                raise

    def _end(self, run_id: str, run: Run) -> None:
        self._call("runs/update", {"run_id": run_id, "status": run.status, "end_time": run.end})

    # -- requests ----------------------------------------------------------------------------------

    def _call(
        self, path: str, question: Json | None = None, lost: Callable[[], Json | None] | None = None
    ) -> Json:
        """The server's answer, which may take several tries.

        :param lost: asked before a further try: what the one before did after all, or None.
        """
        for wait in (*WAITS, None):
            try:
                return self._asked(path, question)
            except _LostError:
                if wait is None or not self._answered:
                    raise
            self._sleep(wait)
            if lost is not None and (found := lost()) is not None:
                return found
        raise AssertionError

    def _asked(self, path: str, question: Json | None) -> Json:
        path, _, query = path.partition("?")
        url = self._url.at(_API + path)
        url += f"{'&' if self._url.query else '?'}{query}" if query else ""
        url = url.replace("://", f"://{self._login}", 1)
        access = Access(api_key_env=self._token)
        try:
            if question is None:
                answer = get(url, access, timeout=TIMEOUT)
            else:
                answer = post(url, question, access, timeout=TIMEOUT)
        except NoAnswerError as error:
            if error.kind in ("tls", "resolve", "too_large"):
                msg = f"{self.shown}: {error}"
                raise UsageError(msg) from None
            raise _LostError(str(error)) from None
        if answer.status == 429 or answer.status >= 500:
            self._answered = True
            msg = f"the server answers with status {answer.status}"
            raise _LostError(msg)
        return self._read(answer)

    def _read(self, answer: Answer) -> Json:
        said = answer.json()
        if answer.status in (401, 403):
            msg = (
                f"{self.shown}: the server wants another login (status {answer.status}); "
                f"set {TOKEN}, or {USER} and {PASSWORD}"
            )
            raise UsageError(msg)
        if isinstance(said, dict) and (answer.status == 200 or isinstance(said.get("error_code"), str)):
            self._answered = True
            if answer.status == 200:
                return said
            raise _RefusedError(said["error_code"], str(said.get("message", "")))
        msg = f"{self.shown}: this is not an MLflow server (status {answer.status}); write its root's URL"
        raise UsageError(msg)


def _quoted(text: str) -> str:
    return quote(text, safe="")


def _said(error: _RefusedError) -> str:
    return one_line(f"{error.code}: {error.said}", 400)


def _tags_of(run: Any) -> dict[str, str]:
    tags = _part(_part(run, "data"), "tags", list)
    return {str(one.get("key")): str(one.get("value")) for one in tags if isinstance(one, dict)}


def _part(answer: Any, name: str, kind: type = dict) -> Any:
    """What *answer* has under *name*; empty where it is not of that kind."""
    found = answer.get(name) if isinstance(answer, dict) else None
    return found if isinstance(found, kind) else kind()


def _text(answer: Json, name: str) -> str:
    """:raises UsageError: if the server left it out."""
    if isinstance(found := answer.get(name), str) and found:
        return found
    msg = f"the MLflow server's answer has no {name}; check that its version is 2.0 or newer"
    raise UsageError(msg)
