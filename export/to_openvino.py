"""A run as OpenVINO models: writes a bundle, builds and verifies its plans, prints the folders of model.xml.

Run: python export/to_openvino.py runs/qat bundle
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from edgeseg import pipeline
from edgeseg.errors import EdgesegError


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a finished run; int8 needs one made by 'edgeseg qat'")
    parser.add_argument("out", type=Path, help="folder for the bundle")
    given = parser.parse_args(arguments)
    try:
        bundle = pipeline.export(given.run, target=["openvino"], out=given.out)
    except EdgesegError as e:
        print(f"error: {e}", file=sys.stderr)
        return e.exit_code
    for plan in sorted(bundle.path.glob("plans/openvino-*")):
        print(plan)
    return 0


if __name__ == "__main__":
    sys.exit(main())
