"""A package, so that tests import what they share by one name: ``tests.fakes``, ``tests.plugin.conftest``."""
