"""Check who imports whom: the contracts under `tool.importlinter` in pyproject.toml.

    python scripts/check_floors.py

Looks at the sources of this checkout. An editable install shows the root of the
repository as a second place of the package, where `lint-imports` by itself
would find every module twice.
"""

import sys
from pathlib import Path

from importlinter.cli import lint_imports

ROOT = Path(__file__).resolve().parents[1]

if __name__ == "__main__":
    sys.meta_path[:] = [each for each in sys.meta_path if "ScikitBuild" not in type(each).__name__]
    sys.path.insert(0, str(ROOT))
    sys.exit(lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True))
