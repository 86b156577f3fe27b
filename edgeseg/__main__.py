"""``python -m edgeseg``: the command line, where its script is not on the path."""

from __future__ import annotations

import sys

from edgeseg.cli import main

if __name__ == "__main__":  # data-loading processes import this file again
    sys.exit(main())
