"""A run as ONNX graphs: writes a bundle, builds nothing, and prints the graphs to hand to another toolchain.

Run: python export/to_onnx.py runs/qat bundle
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from edgeseg import pipeline
from edgeseg.errors import EdgesegError


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a finished run; int8 graphs need one made by 'edgeseg qat'")
    parser.add_argument("out", type=Path, help="folder for the bundle")
    given = parser.parse_args(arguments)
    try:
        bundle = pipeline.export(given.run, target=["onnx"], out=given.out)
    except EdgesegError as e:
        print(f"error: {e}", file=sys.stderr)
        return e.exit_code
    for form in bundle.forms:
        print(bundle.graph(form))
    return 0


if __name__ == "__main__":
    sys.exit(main())
