"""`python -m ops.rail --port PORT --directory DIRECTORY` runs the rail in the foreground until SIGTERM."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path

from aiohttp import web

from ops.processes.servers import LOOPBACK
from ops.rail.books import Books
from ops.rail.misbehaviour import Misbehaviour
from ops.rail.server import Rail


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m ops.rail", description=__doc__)
    parser.add_argument("--host", default=LOOPBACK, help="to listen on")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--directory", type=Path, required=True, help="where its books stand")
    for field in fields(Misbehaviour):
        kind = int if isinstance(field.default, int) else float
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=kind, default=field.default)
    arguments = vars(parser.parse_args())
    host, port, directory = arguments.pop("host"), arguments.pop("port"), arguments.pop("directory")
    rail = Rail(Books(directory / "rail.jsonl"), Misbehaviour(**arguments))
    web.run_app(rail.application(), host=host, port=port, print=None, access_log=None)


if __name__ == "__main__":
    main()
