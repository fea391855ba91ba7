"""Sends HTTP requests. The plugin needs a grant for them.

    response = jobwright_http.request("https://api.example.com/v1", method="POST", body=b"{}")
    if response.status == 200:
        text = response.body.decode()

A request that is not granted, or gets no response, raises `HTTPError`; the reason is also in the job's log.
"""

from dataclasses import dataclass
from urllib.parse import urlsplit

from componentize_py_types import Err
from wit_world.imports import outgoing_handler, streams, types

# The maximum length of one write to a WASI stream.
PIECE_BYTES = 4096


@dataclass
class Response:
    status: int
    # Pairs of a name, in lower case, and a value.
    headers: list[tuple[str, str]]
    body: bytes


class HTTPError(Exception):
    """A request that was refused, or got no response."""


def request(url: str, method: str = "GET", headers: dict[str, str] | None = None, body: bytes = b"") -> Response:
    """Sends a request, and returns the complete response, with any status."""
    try:
        sent = _send(url, method.upper(), headers or {}, body)
        waiting = sent.subscribe()
        waiting.block()
        answer = sent.get()
        response = answer.value
        # The response is in two results: the outer one fails only if it was taken before.
        for _ in range(2):
            if isinstance(response, Err):
                raise response
            response = getattr(response, "value", response)
        fields = [(name.lower(), value.decode("latin-1")) for name, value in response.headers().entries()]
        return Response(response.status(), fields, _read(response.consume()))
    except Err as error:
        reason = type(error.value).__name__.removeprefix("ErrorCode_")
        raise HTTPError(f"{method} {url}: {reason}") from None


def _send(url, method, headers, body):
    parts = urlsplit(url)
    fields = types.Fields.from_list([(name, value.encode("latin-1")) for name, value in headers.items()])
    message = types.OutgoingRequest(fields)
    message.set_method(getattr(types, f"Method_{method.capitalize()}", lambda: types.Method_Other(method))())
    message.set_scheme(types.Scheme_Https() if parts.scheme == "https" else types.Scheme_Http())
    message.set_authority(parts.netloc)
    message.set_path_with_query((parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
    outgoing = message.body()
    sent = outgoing_handler.handle(message, None)
    with outgoing.write() as stream:
        for start in range(0, len(body), PIECE_BYTES):
            stream.blocking_write_and_flush(body[start:start + PIECE_BYTES])
    types.OutgoingBody.finish(outgoing, None)
    return sent


def _read(incoming):
    pieces = []
    with incoming.stream() as stream:
        while True:
            try:
                pieces.append(stream.blocking_read(16 * PIECE_BYTES))
            except Err as error:
                if isinstance(error.value, streams.StreamError_Closed):
                    return b"".join(pieces)
                raise
