"""The players of this library's runtimes: each is started as a process of its own."""

import os
from pathlib import Path
from typing import Any


def use_compilation_cache(jax: Any) -> None:
    """Keeps what XLA has compiled for the next run, however small."""
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    jax.config.update("jax_compilation_cache_dir", str(home / "multiattn" / "jax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
