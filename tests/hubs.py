"""Hugging Face and ModelScope on the loopback interface, for their real client libraries.

The responses contain what the libraries read, as observed at the real hubs. They leave out folders
and pages of listings, compression, regions and Xet: HF_HUB_DISABLE_XET=1 must be set.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

REVISION = "ab" * 20
LARGE, BLOCK = ".pt", 1 << 20
REPO = "([^/]+/[^/]+)"
CDN = ("/xet-bridge-us/", "/prod/lfs-objects/")
# The real 401 for an unknown repository has no code; the library checks the https address instead.
REFUSALS = {401: "RepoNotFound", 403: "GatedRepo", 404: "RepoNotFound"}


@dataclass
class Request:
    """A request; its status (0 until the response), and the bytes of body sent so far."""

    method: str
    path: str
    range: str
    user_agent: str
    status: int = 0
    sent: int = 0


@dataclass
class Fault:
    """A fault of some responses; the fields from ``cut`` on affect only the bodies of files."""

    path: str = ""  # Affects requests whose path or query contains this.
    times: int | None = None  # The number of requests still affected; None is all.
    status: int | None = None  # The response has this status.
    silent: bool = False  # There is no response while the client waits.
    cut: int | None = None  # The connection ends after this many bytes of the announced body.
    reset: bool = False  # With `cut`: it is reset, as by a router, and not closed.
    stall: int | None = None  # The body stalls after this many bytes.
    alter: int | None = None  # The byte at this position is changed.
    short: int = 0  # The file is this many bytes too short, and the headers agree.
    call: tuple[int, Callable[[], object]] | None = None  # The call happens after this many bytes.


Answer = tuple[int, bytes | Path, dict[str, str]]  # Status, body and headers.
_hashed: dict[tuple[Path, int, int], tuple[str, str]] = {}


def _json(data: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    body = json.dumps(data, ensure_ascii=False).encode()
    return status, body, {"Content-Type": "application/json", **(headers or {})}


def _refusal(path: str, status: int, code: str = "", text: str = "refused") -> Answer:
    # The real hubs' 5xx responses are unknown. ModelScope answers every refusal with 404.
    if path.startswith("/api/v1/"):
        text = "获取模型目录树失败，信息：record not found"
        return _json({"Code": 10010205001, "Message": text, "Success": False}, status)
    if path.startswith(CDN):
        return status, b"AccessDenied", {}
    errors = {"X-Error-Code": code or REFUSALS.get(status, ""), "X-Error-Message": text}
    return _json({"error": text}, status, errors)


class LoopbackHub:
    """Both hubs on one port and their CDNs on another, for the length of a ``with`` block.

    Args:
        repositories: Folders by name; or for several commits, their folders, the newest last.
            Files that end in ``.pt`` count as large.
        revision: The commit of repositories with one folder.
    """

    def __init__(
        self, repositories: Mapping[str, Path | Mapping[str, Path]], revision: str = REVISION
    ) -> None:
        self.repositories = {
            name: folders if isinstance(folders, Mapping) else {revision: folders}
            for name, folders in repositories.items()
        }
        self.requests: list[Request] = []
        self.faults: list[Fault] = []
        self._signed: dict[str, Answer] = {}
        self._lock = threading.Lock()
        server = type("Server", (_Server,), {"hub": self})
        self._servers = [server(("127.0.0.1", 0), _Handler) for _ in range(2)]
        self._pool = ThreadPoolExecutor()
        self.connections: list[socket.socket] = []
        self.address, self.cdn = (f"http://127.0.0.1:{one.server_port}" for one in self._servers)
        self.environment = dict.fromkeys(("HF_ENDPOINT", "MODELSCOPE_ENDPOINT"), self.address)
        # Hugging Face's library fetches a list of programs that may run it, as telemetry.
        self.environment |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "0"}
        self.environment |= dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1")

    def __enter__(self) -> LoopbackHub:
        for server in self._servers:
            self._pool.submit(server.serve_forever, 0.05)
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.shutdown()
        for connection in self.connections:
            with suppress(OSError):  # This wakes threads that wait for a client.
                connection.shutdown(socket.SHUT_RDWR)
        for server in self._servers:
            server.server_close()
        self._pool.shutdown()

    def answer(self, address: str) -> Answer:
        """The response to a path and query."""
        path, query = unquote(urlsplit(address).path), urlsplit(address).query
        if path.startswith(CDN):  # The CDN knows only the signed addresses that a hub gave.
            return self._signed.get(address) or _refusal(path, 403)
        if path.startswith("/api/v1/"):
            return self._modelscope(path, dict(parse_qsl(query)))
        deep = "/tree/" in path or "blobs=true" in query
        return (200, b"", {}) if path == "/" else self._huggingface(path, deep)

    def fault(self, address: str, of_file: bool) -> Fault:
        """The first fault that affects a request: its response, or the body of a file."""
        with self._lock:
            for fault in self.faults:
                early = fault.silent or fault.status is not None
                if early != of_file and fault.times != 0 and fault.path in unquote(address):
                    fault.times = fault.times and fault.times - 1
                    return fault
        return Fault()

    def _find(self, name: str, revision: str) -> tuple[str, dict[str, Path]]:
        """The commit and files of a revision; empty if there is no such revision."""
        commits = self.repositories[name]
        commit = list(commits)[-1] if revision in ("main", "master") else revision
        if not (folder := commits.get(commit)):
            return "", {}
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return commit, {file.relative_to(folder).as_posix(): file for file in files}

    def _hashes(self, path: Path) -> tuple[str, str]:
        """The sha256, and the git object id (for a large file, the libraries do not read it)."""
        key = path, path.stat().st_size, path.stat().st_mtime_ns
        with self._lock, path.open("rb") as file:  # Concurrent requests hash a file once.
            if key not in _hashed:
                text = b"" if path.suffix == LARGE else path.read_bytes()
                oid = hashlib.sha1(b"blob %d\0" % len(text) + text).hexdigest()
                _hashed[key] = hashlib.file_digest(file, "sha256").hexdigest(), oid
            return _hashed[key]

    def _modelscope(self, path: str, query: Mapping[str, str]) -> Answer:
        match = re.fullmatch(f"/api/v1/models/{REPO}/repo(/files)?", path)
        if not match or match[1] not in self.repositories:
            return _refusal(path, 404)
        commit, files = self._find(match[1], query.get("Revision", "master"))
        if match[2]:
            entries = [
                {"Path": name, "Name": file.name, "Type": "blob", "Revision": commit}
                | {"Size": file.stat().st_size, "Sha256": self._hashes(file)[0]}
                for name, file in files.items()
            ]
            # By most reports an unknown revision has no files; one reports 404, code 10990101004.
            return _json({"Code": 200, "Data": {"Files": entries or None}, "Success": True})
        if not (file := files.get(query.get("FilePath", ""))):
            return _refusal(path, 404)  # Really a 200 with code 10990101007, by reports.
        if file.suffix != LARGE:
            return 200, file, {}  # The real hub answers a range with 200, not 206.
        sha = self._hashes(file)[0]
        shown = urlencode({"filename": file.name, "repository": match[1], "auth_key": "0"})
        place = f"{CDN[1]}{sha[:2]}/{sha[2:4]}/{sha[4:]}?{shown}"
        self._signed[place] = 200, file, {"X-Linked-ETag": f'"{sha}"'}
        return 302, b"", {"Location": self.cdn + place}

    def _huggingface(self, path: str, deep: bool) -> Answer:
        listed = re.fullmatch(f"/api/models/{REPO}(?:/(revision|tree)/([^/]+))?", path)
        held = re.fullmatch(f"(/api/resolve-cache/models)?/{REPO}(?:/resolve)?/([^/]+)/(.+)", path)
        if not (match := listed or held):
            return _refusal(path, 404)
        name, revision = (match[1], match[3] or "main") if listed else (match[2], match[3])
        if name not in self.repositories:
            return _refusal(path, 401, text="Invalid username or password.")
        commit, files = self._find(name, revision)
        if not commit:
            return _refusal(path, 404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if listed:
            known: list[dict[str, Any]] = [{"rfilename": path} for path in files]
            for entry, (path, one) in zip(known, files.items() if deep else (), strict=False):
                (sha, oid), size = self._hashes(one), one.stat().st_size
                entry |= {"type": "file", "path": path, "size": size, "oid": oid, "blobId": oid}
                if one.suffix == LARGE:
                    lfs = {"oid": sha, "sha256": sha, "size": size, "pointerSize": 134}
                    entry |= {"lfs": lfs, "xetHash": sha[::-1]}
            about = {"id": name, "modelId": name, "sha": commit, "siblings": known}
            return _json(known if listed[2] == "tree" else about)
        if not (file := files.get(match[4])):
            return _refusal(path, 404, "EntryNotFound", "Entry not found")
        sha, oid = self._hashes(file)
        headers = {"X-Repo-Commit": commit, "X-Linked-Size": str(file.stat().st_size)}
        if match[1]:
            return 200, file, {**headers, "ETag": f'"{oid}"'}
        headers["X-Linked-Etag"] = f'"{sha if file.suffix == LARGE else oid}"'
        if file.suffix != LARGE:
            place = f"/api/resolve-cache/models/{name}/{commit}/{quote(match[4])}"
            query = f"{quote(path, safe='')}=&etag={quote(headers['X-Linked-Etag'])}"
            return 307, b"", {**headers, "Location": f"{place}?{query}"}
        xet = sha[::-1]  # Really a hash of chunks; without Xet it is opaque.
        link = f'<{self.address}/api/models/{name}/xet-read-token/{commit}>; rel="xet-auth"'
        shown = urlencode({"response-content-disposition": f"filename={file.name}", "Signature": 0})
        place = f"{CDN[0]}{name}/{xet}?{shown}"
        self._signed[place] = 200, file, {"ETag": f'"{xet}"'}
        return 302, b"", headers | {"X-Xet-Hash": xet, "Link": link, "Location": self.cdn + place}


class _Server(ThreadingHTTPServer):
    hub: LoopbackHub
    daemon_threads = False  # Closing the server waits for its threads.

    def verify_request(self, request: Any, client_address: Any) -> bool:
        self.hub.connections.append(request)
        return True

    def handle_error(self, *_: object) -> None: ...  # Clients may disconnect.


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        hub, agent = self.server.hub, self.headers.get("User-Agent", "")
        asked = Request(self.command, self.path, self.headers.get("Range", ""), agent)
        hub.requests.append(asked)
        fault = hub.fault(self.path, of_file=False)
        if fault.silent:
            return self._wait()
        error = fault.status
        status, body, headers = _refusal(self.path, error) if error else hub.answer(self.path)
        whole, fault = isinstance(body, bytes), Fault()
        if not whole and self.command == "GET":
            fault = hub.fault(self.path, of_file=True)
        with io.BytesIO(body) if isinstance(body, bytes) else body.open("rb") as source:
            stop = size = max(0, source.seek(0, io.SEEK_END) - fault.short)
            start, part = 0, re.fullmatch(r"bytes=(\d+)-(\d*)", asked.range)
            if part and not whole:
                start, stop = int(part[1]), min(int(part[2] or size) + 1, size)
                status, place = (206, f"{start}-{stop - 1}") if start < stop else (416, "*")
                headers = {**headers, "Content-Range": f"bytes {place}/{size}"}
            asked.status, length = status, max(0, stop - start)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(length)}.items():
                self.send_header(name, value)
            self.end_headers()
            source.seek(start)
            return self._send(source, length if self.command == "GET" else 0, fault, asked)

    do_HEAD = do_GET

    def _send(self, source: BinaryIO, length: int, fault: Fault, asked: Request) -> None:
        place, function = fault.call or (None, lambda: None)
        marks = [mark for mark in (place, fault.cut, fault.stall, length) if mark is not None]
        while True:
            if asked.sent == place:
                function()
            if asked.sent in (fault.cut, fault.stall, length):
                break
            end = min(asked.sent + BLOCK, *(mark for mark in marks if mark > asked.sent))
            block = bytearray(source.read(end - asked.sent))
            if fault.alter is not None and asked.sent <= fault.alter < end:
                block[fault.alter - asked.sent] ^= 1
            asked.sent = end  # Before the write, as a client may end right after it.
            self.wfile.write(block)
        if asked.sent == fault.cut:
            self.close_connection = True
            if fault.reset:
                linger = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.connection.close()
        elif asked.sent == fault.stall:
            self._wait()

    def _wait(self) -> None:
        self.close_connection = True
        self.connection.recv(1)

    def log_message(self, *_: object) -> None: ...  # `requests` is the log.
