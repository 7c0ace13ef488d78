"""`python -m ops.monitoring`: write Grafana's files anew from the boards, and the list of metrics from the code."""

import argparse

from ops.monitoring.boards import BOARDS
from ops.monitoring.grafana import FOLDER, board_json
from ops.monitoring.listing import PAGE, page_with_list


def main() -> None:
    argparse.ArgumentParser(prog="python -m ops.monitoring", description=__doc__).parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    for board in BOARDS:
        (FOLDER / f"{board.name}.json").write_text(board_json(board), encoding="utf-8")
    PAGE.write_text(page_with_list(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
