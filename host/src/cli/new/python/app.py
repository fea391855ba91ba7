"""Answers its payload in capitals."""

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
            # Left to Python, any code but 0 would arrive as 1.
            if isinstance(end.code, int) and end.code != 0:
                sys.stdout.flush()
                wasi_exit.exit_with_code(end.code & 0xFF)
            raise
