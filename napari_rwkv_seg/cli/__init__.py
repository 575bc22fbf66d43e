"""The package as commands: `napari-rwkv-seg segment`, `finetune`, `models`, `journal`, `doctor`.

Knows no Qt and no napari, and loads torch only when a network is to run. What a
user can do wrong is answered with a sentence on stderr and exit code 1.
"""

from .app import app, main

__all__ = ["app", "main"]
