"""`python -m ops.monitoring`: write Grafana's files anew from the boards."""

from ops.monitoring.boards import BOARDS
from ops.monitoring.grafana import FOLDER, board_json


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for board in BOARDS:
        (FOLDER / f"{board.name}.json").write_text(board_json(board), encoding="utf-8")


if __name__ == "__main__":
    main()
