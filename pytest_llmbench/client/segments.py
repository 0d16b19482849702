"""What comes from a socket in one read?"""

from __future__ import annotations

Segment = tuple[int, bytes | None, bytes]
"""When it was read (ns), the kernel's stamp, and its bytes; TLS is removed, HTTP's framing is not."""
Arrived = tuple[int, int, Segment | OSError | None]
"""A socket that needs more than storing, and what it is ready for; then what was read from it: a segment
that may end its response, the error that reading it raised, or None if it has no stream and was not read."""
