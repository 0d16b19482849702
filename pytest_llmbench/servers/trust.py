"""What lets us into a server, and when do we believe that it is the right one?

Both clients use it: the small questions (:mod:`.ask`) and the load.
"""

from __future__ import annotations

import os
import ssl

from pytest_llmbench.errors import UsageError
from pytest_llmbench.secrets import learn


def api_key(variable: str | None) -> str | None:
    """The key that the environment variable *variable* holds; None where none is named.

    :raises UsageError: if the variable is not set, or has characters that a header cannot carry; the value is
        never shown.
    """
    if variable is None:
        return None
    option = f"server.api_key_env={variable}"
    key = os.environ.get(variable, "").strip()
    if not key:
        msg = f"{option}: the environment variable {variable} is not set; set it to the server's API key"
        raise UsageError(msg)
    if not key.isascii() or not key.isprintable():
        msg = (
            f"{option}: the value of the environment variable {variable} is not a valid API key; "
            "it must be one line of ASCII letters, digits and signs"
        )
        raise UsageError(msg)
    learn(key)
    return key


def tls_context(*, verify: bool, ca_file: str | None) -> ssl.SSLContext:
    """What is asked of a server's certificate.

    :param verify: whether it has to be valid.
    :param ca_file: PEM file of the authority to trust; None trusts the system's.
    :raises UsageError: if ``ca_file`` cannot be read.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        msg = (
            f"server.ca_file={ca_file}: no certificate can be read from this file: "
            f"{error.strerror or error}; name a PEM file"
        )
        raise UsageError(msg) from None
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    return context
