"""Which servers can a session start, and what do they say of themselves?

:mod:`.table` has one row an engine, :mod:`.launch` starts and ends a server, :mod:`.docker` does it
in a container, :mod:`.probe` asks one that runs already, :mod:`.scrape` reads their counters. :mod:`.keep`
has those of a session, :mod:`.options` what can be set of them, :mod:`.endpoint` how one is asked.
"""
