"""How do several tox environments share one folder of installed packages?

tox rebuilds a folder that an environment of another name made. Here the environments that share a
folder are installed alike, so the name does not matter: it is forgotten, while tox goes on comparing
the interpreter, the requirements and the constraints.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from tox.plugin import impl

if TYPE_CHECKING:
    from tox.config.sets import EnvConfigSet
    from tox.session.state import State


@impl
def tox_add_env_config(env_conf: EnvConfigSet, state: State) -> None:
    """Forget which environment made the shared folder."""
    info = Path(state.conf.core["work_dir"], "shared", ".tox-info.json")
    try:
        known = json.loads(info.read_text())
    except (OSError, ValueError):
        return
    if known.pop("ToxEnv", None):
        info.write_text(json.dumps(known, indent=2))
