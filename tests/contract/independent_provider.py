"""A second, independent fake of the provider: a small real HTTP server on the standard library alone.

Written from the provider's own document alone, and it must stay independent of `app`: it shares no code, model or
library with the service, so that a misreading of the document in one is not repeated in the other. The document shows
no list of `error_code` values; those used here, and the odd shapes that a test may ask for, were met in the field.
"""

from __future__ import annotations

import json
import secrets
import socket
import sys
import threading
from collections import Counter
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from typing import Self

AuthMode = Literal["header", "body_key", "login"]
Shape = Literal["documented", "numbers", "sparse"]
"""`documented`: all strings. `numbers`: id, price and code as JSON numbers. `sparse`: no price, no number."""

PATH = "/api/call-password/send/"
CONTENT_TYPE = "application/json"
CAPACITIES = ("4", "5", "6")
PRICE = "0.35"
FIRST_ID = 1234
MAX_BODY = 65_536

AUTHORISATION_FAILED = "authorisation_failed"
NUMBER_IS_EMPTY = "number_is_empty"
NUMBER_NOT_VALID = "number_not_valid"
UNKNOWN_REQUEST = "unknown_request"

_DIGITS = frozenset("0123456789")
_FIELDS = frozenset({"security", "number", "capacity"})
_SECURITY_FIELDS = frozenset({"login", "password", "apiKey"})
_SCHEMES = ("bearer", "basic", "digest", "token", "apikey", "api-key")


@dataclass(frozen=True, slots=True)
class ProviderRequest:
    """One request as it arrived: header names in lower case, the body parsed (None when it was no JSON object)."""

    headers: Mapping[str, str]
    body: Mapping[str, object] | None
    auth: AuthMode | None


@dataclass(frozen=True, slots=True)
class _Reply:
    status: int
    body: bytes
    content_type: str = CONTENT_TYPE


@dataclass(frozen=True, slots=True)
class _Script:
    reply: _Reply
    placed: bool


class IndependentProvider:
    """The provider on a free loopback port, from `with` to its end.

    `violations` lists each way in which a client strayed from the document. Credentials that are well formed but wrong
    are no violation: they are refused.
    """

    def __init__(
        self,
        *,
        api_key: str = "independent-key",
        login: str = "independent-login",
        password: str = "independent-password",
        shape: Shape = "documented",
    ) -> None:
        self.api_key = api_key
        self.login = login
        self.password = password
        self.shape: Shape = shape
        self._lock = threading.Lock()
        self._requests: list[ProviderRequest] = []
        self._violations: list[str] = []
        self._placed: Counter[str] = Counter()
        self._last_codes: dict[str, str] = {}
        self._fixed_codes: dict[str, str] = {}
        self._scripts: dict[str, _Script] = {}
        self._next_id = FIRST_ID
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Listen on a free port of 127.0.0.1 and serve in a thread."""
        if self._server is not None:
            raise RuntimeError("already started")
        self._server = _Server(self)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, name="independent-provider"
        )
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop serving, close the kept-alive connections and wait for every thread."""
        server, thread = self._server, self._thread
        self._server = self._thread = None
        if server is None or thread is None:
            return
        server.shutdown()
        thread.join()
        server.close_connections()
        server.server_close()

    @property
    def url(self) -> str:
        """The full URL that sends a call."""
        if self._server is None:
            raise RuntimeError("not started")
        return f"http://127.0.0.1:{self._server.server_address[1]}{PATH}"

    @property
    def requests(self) -> list[ProviderRequest]:
        """Every request read so far, in order (a copy)."""
        with self._lock:
            return list(self._requests)

    @property
    def violations(self) -> list[str]:
        """What clients did against the document, in order (a copy)."""
        with self._lock:
            return list(self._violations)

    @property
    def placed(self) -> Counter[str]:
        """How many calls each number got (a copy; a number never called counts 0)."""
        with self._lock:
            return self._placed.copy()

    def last_code(self, number: str) -> str:
        """Tell the last digits that the latest call to this number came from; KeyError when there was none."""
        with self._lock:
            return self._last_codes[number]

    def fix_code(self, number: str, code: str) -> None:
        """Call this number from a caller ending in `code`, whatever capacity was asked for."""
        with self._lock:
            self._fixed_codes[number] = code

    def refuse(self, number: str, error_code: str) -> None:
        """Answer each sound request for this number with the documented error."""
        self._script(number, _refusal(error_code), placed=False)

    def script(
        self,
        number: str,
        body: bytes,
        *,
        status: int = HTTPStatus.OK,
        content_type: str = CONTENT_TYPE,
        placed: bool = False,
    ) -> None:
        """Answer each sound request for this number with these bytes; `placed` counts a call nevertheless."""
        self._script(number, _Reply(status, body, content_type), placed=placed)

    def _script(self, number: str, reply: _Reply, *, placed: bool) -> None:
        with self._lock:
            self._scripts[number] = _Script(reply, placed)

    def note(self, violation: str) -> None:
        """Record that a client strayed from the document."""
        with self._lock:
            self._violations.append(violation)

    def answer(self, headers: Mapping[str, str], raw: bytes) -> _Reply:
        """Judge one POST to the documented path and answer it."""
        problems: list[str] = []
        body = _parse(raw, problems)
        key = headers.get("authorization")
        security = _security(body, problems)
        auth = _auth_mode(key, security)
        allowed = self._allowed(auth, key, security, problems)
        typed = _is_json(headers, problems)
        refusal = UNKNOWN_REQUEST if body is None else _refuse_fields(body, problems)
        with self._lock:
            self._requests.append(ProviderRequest(headers, body if body is None else MappingProxyType(body), auth))
            self._violations.extend(problems)
        if body is None or not typed:
            return _refusal(UNKNOWN_REQUEST)
        if not allowed:
            return _refusal(AUTHORISATION_FAILED)
        if refusal is not None:
            return _refusal(refusal)
        return self._call(str(body["number"]), int(str(body["capacity"])))

    def _allowed(
        self, auth: AuthMode | None, key: str | None, security: Mapping[str, object] | None, problems: list[str]
    ) -> bool:
        if key is not None:
            if security is not None:
                problems.append("both the Authorization header and the security section were given")
            if key.partition(" ")[0].lower() in _SCHEMES and key != self.api_key:
                problems.append(f"the Authorization header has a scheme: {key.partition(' ')[0]}")
            return key == self.api_key
        if security is None or auth is None:
            problems.append("neither the Authorization header nor the security section was given")
            return False
        if auth == "body_key":
            return security["apiKey"] == self.api_key
        return security.get("login") == self.login and security.get("password") == self.password

    def _call(self, number: str, capacity: int) -> _Reply:
        with self._lock:
            script = self._scripts.get(number)
            if script is not None and not script.placed:
                return script.reply
            code = self._fixed_codes.get(number) or f"{secrets.randbelow(10**capacity):0{capacity}d}"
            call_id = self._next_id
            self._next_id += 1
            self._placed[number] += 1
            self._last_codes[number] = code
        return script.reply if script is not None else self._success(call_id, number, code)

    def _success(self, call_id: int, number: str, code: str) -> _Reply:
        if self.shape == "numbers":
            return _json_reply(
                {"result": "ok", "id": call_id, "number": number, "price": float(PRICE), "code": int(code)}
            )
        if self.shape == "sparse":
            return _json_reply({"result": "ok", "id": str(call_id), "code": code})
        return _json_reply({"result": "ok", "id": str(call_id), "number": number, "price": PRICE, "code": code})


def _json_reply(answer: Mapping[str, object], status: int = HTTPStatus.OK) -> _Reply:
    return _Reply(status, json.dumps(answer, ensure_ascii=False).encode())


def _refusal(error_code: str, status: int = HTTPStatus.OK) -> _Reply:
    return _json_reply({"result": "error", "error_code": error_code}, status)


def _parse(raw: bytes, problems: list[str]) -> dict[str, object] | None:
    def pairs(items: list[tuple[str, object]]) -> dict[str, object]:
        problems.extend(
            f"the field {name} was given twice" for name, times in Counter(k for k, _ in items).items() if times > 1
        )
        return dict(items)

    try:
        parsed: object = json.loads(raw.decode("utf-8"), object_pairs_hook=pairs)
    except (ValueError, RecursionError):
        problems.append("the body is not JSON in UTF-8")
        return None
    if not isinstance(parsed, dict):
        problems.append("the body is not a JSON object")
        return None
    return parsed


def _is_json(headers: Mapping[str, str], problems: list[str]) -> bool:
    given = headers.get("content-type")
    if given == CONTENT_TYPE:
        return True
    problems.append(f"Content-Type is not {CONTENT_TYPE}: {given}")
    return given is not None and given.partition(";")[0].strip().lower() == CONTENT_TYPE


def _security(body: Mapping[str, object] | None, problems: list[str]) -> Mapping[str, object] | None:
    if body is None or "security" not in body:
        return None
    section = body["security"]
    if not isinstance(section, dict):
        problems.append("security is not an object")
        return {}
    problems.extend(f"security has an undocumented field: {name}" for name in sorted(section.keys() - _SECURITY_FIELDS))
    problems.extend(
        f"security.{name} is not a string"
        for name in sorted(section.keys() & _SECURITY_FIELDS)
        if not isinstance(section[name], str)
    )
    by_login = section.keys() & {"login", "password"}
    if "apiKey" in section and by_login:
        problems.append("security has both apiKey and login or password")
    elif len(by_login) == 1:
        problems.append("security has only one of login and password")
    return section


def _auth_mode(key: str | None, security: Mapping[str, object] | None) -> AuthMode | None:
    if key is not None:
        return "header"
    if security is None:
        return None
    if "apiKey" in security:
        return "body_key"
    return "login" if "login" in security or "password" in security else None


def _refuse_fields(body: Mapping[str, object], problems: list[str]) -> str | None:
    """Check number and capacity; the error to answer, or None when both are sound."""
    problems.extend(f"the request has an undocumented field: {name}" for name in sorted(body.keys() - _FIELDS))
    refusal: str | None = None
    capacity = body.get("capacity")
    if not isinstance(capacity, str):
        problems.append(f"capacity is not a string: {capacity!r}")
        refusal = UNKNOWN_REQUEST
    elif capacity not in CAPACITIES:
        problems.append(f"capacity is not from 4 to 6: {capacity!r}")
        refusal = UNKNOWN_REQUEST
    number = body.get("number")
    if not isinstance(number, str):
        problems.append(f"number is not a string: {number!r}")
        return NUMBER_NOT_VALID
    if not number:
        problems.append("number is empty")
        return NUMBER_IS_EMPTY
    if number.startswith("+"):
        problems.append(f"number has a plus: {number!r}")
        return NUMBER_NOT_VALID
    if not _DIGITS.issuperset(number):
        problems.append(f"number is not digits only: {number!r}")
        return NUMBER_NOT_VALID
    return refusal


class _Server(ThreadingHTTPServer):
    """Threads that are waited for, and connections that can be closed from outside."""

    daemon_threads = False
    request_queue_size = 128

    def __init__(self, provider: IndependentProvider) -> None:
        self.provider = provider
        self._connections: set[socket.socket] = set()
        self._connections_lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)

    def get_request(self) -> tuple[socket.socket, object]:
        connection, address = super().get_request()
        with self._connections_lock:
            self._connections.add(connection)
        return connection, address

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        if isinstance(request, socket.socket):
            with self._connections_lock:
                self._connections.discard(request)
        super().shutdown_request(request)

    def close_connections(self) -> None:
        with self._connections_lock:
            for connection in self._connections:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # the client was first

    def handle_error(self, request: object, client_address: object) -> None:
        error = sys.exception()
        if not isinstance(error, ConnectionError):  # a client may hang up as it likes
            self.provider.note(f"the fake itself failed: {error!r}")


class _Handler(BaseHTTPRequestHandler):
    """HTTP/1.1 with keep-alive: one write for head and body, an exact Content-Length."""

    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_POST(self) -> None:
        if self.path != PATH:
            self.send_error(HTTPStatus.NOT_FOUND, f"the path is not {PATH}: {self.path}")
            return
        if "Transfer-Encoding" in self.headers:
            self.send_error(HTTPStatus.LENGTH_REQUIRED, "the body came chunked, without a Content-Length")
            return
        lengths = self.headers.get_all("Content-Length", [])
        if len(lengths) != 1 or not lengths[0] or not _DIGITS.issuperset(lengths[0]):
            self.send_error(HTTPStatus.LENGTH_REQUIRED, f"Content-Length is not one number: {lengths}")
            return
        length = int(lengths[0]) if len(lengths[0]) <= len(str(MAX_BODY)) else MAX_BODY + 1
        if length > MAX_BODY:
            self.send_error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is longer than {MAX_BODY} bytes")
            return
        raw = self.rfile.read(length)
        if len(raw) < length:
            self.close_connection = True
            self.server.provider.note("the connection ended before the whole body came")
            return
        for name in ("Authorization", "Content-Type"):
            if len(self.headers.get_all(name, [])) > 1:
                self.server.provider.note(f"the header {name} was given twice")
        headers = MappingProxyType({name.lower(): value for name, value in self.headers.items()})
        self._reply(self.server.provider.answer(headers, raw))

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Record what is wrong with the HTTP itself, a method other than POST included, and hang up."""
        self.server.provider.note(f"HTTP {int(code)}: {message or HTTPStatus(code).phrase}")
        self._reply(_refusal(UNKNOWN_REQUEST, code), close=True)

    def _reply(self, reply: _Reply, *, close: bool = False) -> None:
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.content_type)
        self.send_header("Content-Length", str(len(reply.body)))
        if close:
            self.send_header("Connection", "close")
        self.end_headers()
        if getattr(self, "command", None) != "HEAD":
            self.wfile.write(reply.body)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Stay silent: the records are the log."""
