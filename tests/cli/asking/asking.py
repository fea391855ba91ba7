"""Exits with the number in its payload, or sends a GET to the address in it; fails for good without an answer."""

import sys

import jobwright_http


def main() -> None:
    payload = sys.stdin.read().strip()
    if payload.lstrip("-").isdigit():
        sys.exit(int(payload))
    try:
        response = jobwright_http.request(payload)
    except jobwright_http.HTTPError as error:
        print(error, file=sys.stderr, flush=True)
        sys.exit(65)
    sys.stdout.write(f"{response.status} {response.body.decode()}")
