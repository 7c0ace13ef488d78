"""`python -m ops.structure [CHECKOUT]` shows the layout of the code as one JSON object; it exits 1 on an impure module.

The folder of another checkout may be given, to compare two states of the project by the same measure.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from ops.structure.figures import figures_of
from ops.structure.modules import modules_of
from ops.structure.purity import violations


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m ops.structure", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "checkout", nargs="?", type=Path, default=Path(), help="the project's folder; this one by default"
    )
    root = parser.parse_args().checkout.resolve()
    modules = modules_of(root)
    if not modules:
        parser.error(f"{root} holds no module of the project; give the folder of a checkout")
    found = list(violations(modules))
    for violation in found:
        print(f"{violation.module}:{violation.line}: {violation.kind}: {violation.what}", file=sys.stderr)
    print(json.dumps({**figures_of(root)._asdict(), "impurities": len(found)}, ensure_ascii=False))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
