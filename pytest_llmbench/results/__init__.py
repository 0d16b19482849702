"""What is kept of what was measured?"""

from __future__ import annotations

DEFAULT_STORE = ".llmbench"
"""The folder of the documents where none is named; here, where nothing else has to be imported for it."""
