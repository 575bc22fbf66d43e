#!/usr/bin/env bash
# Install what the package needs from the system, where we may; say what is missing where we may not.
#
# Usage: system_packages.sh [build] [window] [screen]
#   build   a C++ compiler and Python's venv module
#   window  the libraries that Qt and napari's canvas load (Linux only)
#   screen  a virtual screen, for tests on a machine without one (Linux only)
#
# A need is probed first, so that a second run costs nothing. Missing ones are installed with
# apt-get by root on Debian and its kin; elsewhere they are named and the run goes on, because
# the package works without a compiler and may find its libraries in places that we do not know.
set -euo pipefail

[ "$(uname -s)" = Linux ] || exit 0
PATH="$PATH:/sbin:/usr/sbin"
missing=()

need_command() { command -v "$1" >/dev/null 2>&1 || missing+=("$2"); }
need_library() { grep -qF "$1" <<<"$libraries" || missing+=("$2"); }

for group in "$@"; do
  case "$group" in
    build)
      need_command g++ g++
      "${PYTHON:-python3}" -c 'import ensurepip, venv' >/dev/null 2>&1 || missing+=(python3-venv)
      ;;
    window)
      libraries=$(ldconfig -p 2>/dev/null || true)
      need_library libEGL.so.1 libegl1
      need_library libGL.so.1 libgl1
      need_library libOpenGL.so.0 libopengl0
      need_library libGLX_mesa.so.0 libglx-mesa0
      need_library libdbus-1.so.3 libdbus-1-3
      need_library libfontconfig.so.1 libfontconfig1
      need_library libglib-2.0.so.0 libglib2.0-0
      need_library libxkbcommon-x11.so.0 libxkbcommon-x11-0
      need_library libxcb-cursor.so.0 libxcb-cursor0
      need_library libxcb-icccm.so.4 libxcb-icccm4
      need_library libxcb-image.so.0 libxcb-image0
      need_library libxcb-keysyms.so.1 libxcb-keysyms1
      need_library libxcb-randr.so.0 libxcb-randr0
      need_library libxcb-render-util.so.0 libxcb-render-util0
      need_library libxcb-shape.so.0 libxcb-shape0
      need_library libxcb-xinerama.so.0 libxcb-xinerama0
      need_library libxcb-xkb.so.1 libxcb-xkb1
      [ -n "$(find /usr/lib* -name swrast_dri.so -print -quit 2>/dev/null)" ] || missing+=(libgl1-mesa-dri)
      [ -n "$(find /usr/share/fonts -name '*.ttf' -print -quit 2>/dev/null)" ] || missing+=(fonts-dejavu-core)
      ;;
    screen)
      need_command Xvfb xvfb
      need_command xauth xauth
      ;;
    *)
      echo "system_packages.sh: no such group: $group" >&2
      exit 2
      ;;
  esac
done

[ ${#missing[@]} -gt 0 ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "==> Installing system packages: ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get -qq -o Acquire::Retries=3 update
  apt-get -qq -y -o Acquire::Retries=3 install --no-install-recommends "${missing[@]}" >/dev/null
else
  echo "==> Not found on this system (Debian's names): ${missing[*]}"
  echo "    If a later step fails, install them and run this again."
fi
