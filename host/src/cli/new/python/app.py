"""Answers its payload in capitals."""

import sys

from wit_world import exports


class Run(exports.Run):
    def run(self) -> None:
        sys.stdout.write(sys.stdin.read().upper())
