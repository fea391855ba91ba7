"""Sends a GET to the address in its payload; fails for good if it gets no answer."""

import sys

import jobwright_http
from wit_world import exports
from wit_world.imports import exit


class Run(exports.Run):
    def run(self) -> None:
        try:
            response = jobwright_http.request(sys.stdin.read().strip())
        except jobwright_http.HTTPError as error:
            print(error, file=sys.stderr, flush=True)
            exit.exit_with_code(65)
        sys.stdout.write(f"{response.status} {response.body.decode()}")
