"""Outputs its payload in upper case."""

import sys

from wit_world import exports
from wit_world.imports import exit as wasi_exit


def main() -> None:
    sys.stdout.write(sys.stdin.read().upper())


class Run(exports.Run):
    def run(self) -> None:
        try:
            main()
        except SystemExit as end:
            # Python would exit with 1 for any code but 0.
            if isinstance(end.code, int) and end.code != 0:
                sys.stdout.flush()
                wasi_exit.exit_with_code(end.code & 0xFF)
            raise
