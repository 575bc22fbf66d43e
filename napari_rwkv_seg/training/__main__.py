"""`python -m napari_rwkv_seg.training RUN [--attached]`: the process that trains."""

import sys

from .process import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
