"""A small NFS 4.1 client (RFC 5661, RFC 5531): what somebody needs who means harm, or who looks whether harm is possible.

``python nfs_client.py PORT`` connects to 127.0.0.1 as root by its own word, and prints what /jobs and /data hold.
"""

import itertools
import os
import socket
import struct
import sys
from dataclasses import dataclass, field

NFS, VERSION, COMPOUND, MINOR = 100003, 4, 1, 1
AUTH_NONE, AUTH_SYS = 0, 1
CREATE, GETATTR, LOOKUP, PUTROOTFH, READ, READDIR, SETATTR, WRITE = 6, 9, 15, 24, 25, 26, 34, 38
EXCHANGE_ID, CREATE_SESSION, SEQUENCE, RECLAIM_COMPLETE = 42, 43, 53, 58
DIRECTORY, CHARACTER_DEVICE = 2, 4
OK, PERMISSION, ACCESS, READ_ONLY = 0, 1, 13, 30
ANY_STATE = bytes(16)
MODE, OWNER = 33 - 32, 36 - 32  # attributes, as bits of the second word
RESPONSE = 1 << 20


def number(value: int) -> bytes:
    return struct.pack(">I", value)


def large(value: int) -> bytes:
    return struct.pack(">Q", value)


def opaque(value: bytes) -> bytes:
    return number(len(value)) + value + bytes(-len(value) % 4)


def attributes(bit: int, value: bytes) -> bytes:
    """One attribute of the second word, to be set."""
    return number(2) + number(0) + number(1 << bit) + opaque(value)


@dataclass
class Reply:
    """What is left to read of an answer."""

    data: bytes

    def take(self, count: int) -> bytes:
        taken, self.data = self.data[:count], self.data[count:]
        return taken

    def number(self) -> int:
        return int(struct.unpack(">I", self.take(4))[0])

    def large(self) -> int:
        return int(struct.unpack(">Q", self.take(8))[0])

    def opaque(self) -> bytes:
        length = self.number()
        value = self.take(length)
        self.take(-length % 4)
        return value


class Refused(Exception):
    """The server's status of an operation that failed."""

    def __init__(self, status: int) -> None:
        super().__init__(f"NFS status {status}")
        self.status = status


@dataclass
class Client:
    """A session over a connection, as the user with that number says to be."""

    connection: socket.socket
    uid: int = 0
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    _turn: int = 0
    _session: bytes = b""

    def open(self) -> "Client":
        owner = os.urandom(8) + opaque(os.urandom(16))
        reply = self._compound((EXCHANGE_ID, owner + number(0) + number(0) + number(0)))
        identity, turn = reply.large(), reply.number()
        channel = number(0) + number(RESPONSE) * 2 + number(8192) + number(16) + number(1) + number(0)
        session = large(identity) + number(turn) + number(0) + channel + channel + number(0) + number(1) + number(AUTH_NONE)
        self._session = self._compound((CREATE_SESSION, session)).take(16)
        self._do([], (RECLAIM_COMPLETE, number(0)))
        return self

    def read(self, *path: str) -> bytes:
        reply = self._do(path, (READ, ANY_STATE + large(0) + number(65536)))
        reply.number()
        return reply.opaque()

    def write(self, data: bytes, *path: str) -> None:
        self._do(path, (WRITE, ANY_STATE + large(0) + number(2) + opaque(data)))

    def make_folder(self, name: str, *path: str) -> None:
        self._do(path, (CREATE, number(DIRECTORY) + opaque(name.encode()) + attributes(MODE, number(0o755))))

    def make_device(self, name: str, *path: str) -> None:
        """A second /dev/null."""
        kind = number(CHARACTER_DEVICE) + number(1) + number(3)
        self._do(path, (CREATE, kind + opaque(name.encode()) + attributes(MODE, number(0o666))))

    def set_mode(self, mode: int, *path: str) -> None:
        self._do(path, (SETATTR, ANY_STATE + attributes(MODE, number(mode))))

    def set_owner(self, owner: str, *path: str) -> None:
        self._do(path, (SETATTR, ANY_STATE + attributes(OWNER, opaque(owner.encode()))))

    def names(self, *path: str) -> list[str]:
        reply = self._do(path, (READDIR, large(0) + bytes(8) + number(8192) + number(65536) + number(0)))
        reply.take(8)
        found = []
        while reply.number():
            reply.large()
            found.append(reply.opaque().decode())
            reply.take(4 * reply.number())
            reply.opaque()
        return found

    def _do(self, path: "list[str] | tuple[str, ...]", operation: tuple[int, bytes]) -> Reply:
        self._turn += 1
        sequence = (SEQUENCE, self._session + number(self._turn) + number(0) + number(0) + number(0))
        way = [] if operation[0] == RECLAIM_COMPLETE else [(PUTROOTFH, b""), *((LOOKUP, opaque(part.encode())) for part in path)]
        return self._compound(sequence, *way, operation)

    def _compound(self, *operations: tuple[int, bytes]) -> Reply:
        """The result of the last one. Raises Refused."""
        body = opaque(b"") + number(MINOR) + number(len(operations))
        reply = self._call(body + b"".join(number(code) + given for code, given in operations))
        reply.number()
        reply.opaque()
        for _ in range(reply.number()):
            code, status = reply.number(), reply.number()
            if status != OK:
                raise Refused(status)
            if code == SEQUENCE:
                reply.take(36)
        return reply

    def _call(self, body: bytes) -> Reply:
        who = opaque(number(0) + opaque(b"guest") + number(self.uid) + number(self.uid) + number(0))
        header = number(next(self._numbers)) + number(0) + number(2) + number(NFS) + number(VERSION) + number(COMPOUND)
        call = header + number(AUTH_SYS) + who + number(AUTH_NONE) + number(0) + body
        self.connection.sendall(number(1 << 31 | len(call)) + call)
        reply = Reply(self._record())
        assert reply.number()
        assert (reply.number(), reply.number()) == (1, 0), "the call was not accepted"
        reply.number()
        reply.opaque()
        assert reply.number() == 0, "the call was not understood"
        return reply

    def _record(self) -> bytes:
        got, last = b"", False
        while not last:
            mark = int(struct.unpack(">I", self._exactly(4))[0])
            last = bool(mark >> 31)
            got += self._exactly(mark & 0x7FFFFFFF)
        return got

    def _exactly(self, count: int) -> bytes:
        got = b""
        while len(got) < count:
            if not (part := self.connection.recv(count - len(got))):
                raise ConnectionError("the server has closed the connection")
            got += part
        return got


def main() -> None:
    with socket.create_connection(("127.0.0.1", int(sys.argv[1])), 5) as connection:
        client = Client(connection).open()
        print(client.names("jobs"), client.names("data"))


if __name__ == "__main__":
    main()
