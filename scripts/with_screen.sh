#!/usr/bin/env bash
# Run a command that opens windows: on the display that is there, else on a virtual one (Linux).
set -euo pipefail

if [ "$(uname -s)" != Linux ] || [ -n "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ]; then
  exec "$@"
fi
if ! command -v xvfb-run >/dev/null 2>&1; then
  echo "There is no display, and no virtual one can be made: install xvfb and xauth." >&2
  exit 1
fi
# Mesa draws in software there, so that the canvas is really drawn, the same on every machine.
export LIBGL_ALWAYS_SOFTWARE=1 QT_QPA_PLATFORM=xcb
exec xvfb-run --auto-servernum --server-args "-screen 0 1600x1200x24 +extension GLX" "$@"
