"""What do the routes and the pages share: what is configured, the store, its database and its queue?"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from pytest_llmbench.results.store import Store
from pytest_llmbench.service.configuration import Configuration
from pytest_llmbench.service.tokens import Tokens

if TYPE_CHECKING:
    from pytest_llmbench.catalog.answer import Answer
    from pytest_llmbench.catalog.ask import Ask
    from pytest_llmbench.catalog.hardware import Devices
    from pytest_llmbench.catalog.rows import Catalog
    from pytest_llmbench.results.index.connection import Database
    from pytest_llmbench.service.indexed import Indexed
    from pytest_llmbench.service.jobs import Job, JobQueue
    from pytest_llmbench.service.matrices import Matrices
    from pytest_llmbench.service.metrics import Scrapes
    from pytest_llmbench.service.requests import ModelRequest, SuiteRequest


@dataclass
class Service:
    """One service; ``app.state.service`` of its application. Threads may share it."""

    configuration: Configuration
    _opening: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _recommending: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _database: Database | None = field(default=None, repr=False)

    @cached_property
    def tokens(self) -> Tokens:
        """Who may ask."""
        return Tokens(self.configuration.token)

    @cached_property
    def store(self) -> Store:
        """Where the documents are."""
        return Store(self.configuration.store)

    @cached_property
    def scrapes(self) -> Scrapes:
        """What Prometheus learns."""
        from pytest_llmbench.service.metrics import Scrapes

        return Scrapes()

    @cached_property
    def matrices(self) -> Matrices:
        """How far the matrices of the store are."""
        from pytest_llmbench.service.matrices import Matrices

        return Matrices(self.store)

    @cached_property
    def devices(self) -> Devices:
        """What devices have and cost.

        :raises UsageError: if the configured file is not valid.
        """
        from pytest_llmbench.catalog.hardware import read_devices

        return read_devices(self.configuration.hardware_file)

    @property
    def catalog(self) -> Catalog:
        """All configurations that were measured, as the index has them now.

        :raises ResultsError: if the database does not answer.
        """
        return self._catalog.get(self.database)

    def recommend(self, question: Ask) -> Answer:
        """What the catalog answers.

        Questions of several threads are answered one after the other: each is many short steps of one
        interpreter, and eight whose steps take turns take twice as long.

        :raises UsageError: for a question that cannot be.
        :raises ResultsError: if the database does not answer.
        """
        from pytest_llmbench.catalog.recommend import recommend

        catalog, devices = self.catalog, self.devices
        with self._recommending:
            return recommend(catalog, question, devices)

    @cached_property
    def _catalog(self) -> Indexed[Catalog]:
        from pytest_llmbench.catalog.rows import Catalog
        from pytest_llmbench.service.indexed import Indexed

        return Indexed(Catalog.load)

    @property
    def database(self) -> Database:
        """That of the index and the jobs; opened when it is asked for, and again if it did not answer.

        :raises ResultsError: if it does not answer.
        """
        from pytest_llmbench.results.index.database import open_database

        with self._opening:
            if self._database is None:
                self._database = open_database(self.store, self.configuration.database)
            return self._database

    @property
    def queue(self) -> JobQueue:
        """The jobs.

        :raises ResultsError: if the database does not answer.
        """
        from pytest_llmbench.service.jobs import JobQueue

        configuration = self.configuration
        return JobQueue(self.database, attempts=configuration.attempts, longest=configuration.queue)

    def submit(self, request: ModelRequest | SuiteRequest, key: str | None = None) -> Job:
        """Have what was asked wait for its turn; *key* as of :meth:`JobQueue.submit`.

        :raises UsageError: if it cannot be measured here.
        :raises ConflictError: if the key was used for something else.
        :raises FullError: if too many wait.
        """
        from pytest_llmbench.service.requests import check

        device = check(request, self.configuration)
        return self.queue.submit(request.kind, request.model_dump(mode="json"), device, key)

    def close(self) -> None:
        """Close the database's connections."""
        with self._opening:
            if self._database is not None:
                self._database.close()
                self._database = None
