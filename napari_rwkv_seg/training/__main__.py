"""`python -m napari_rwkv_seg.training RUN [--attached]`: the process that trains."""

import os
import sys

from .process import main
from .torchrun import is_in_company

if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    if is_in_company():  # the company has to be told that one leaves
        sys.exit(code)
    os._exit(code)  # everything is written; to take down torch and its threads takes seconds
