"""A program in QEMU's place, for tests of how machines are started: it speaks QMP, the identity port and the first word of ssh.

What it does with KVM and without is in the file that FAKE_QEMU names, a JSON object: accelerator -> "ok", "abort" or "hang".
"""

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path


def value(option: str) -> str:
    return sys.argv[sys.argv.index(option) + 1]


def serve(path: str, talk: Callable[[socket.socket], None]) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    threading.Thread(target=accept, args=(listener, talk), daemon=True).start()


def accept(listener: socket.socket, talk: Callable[[socket.socket], None]) -> None:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=talk, args=(connection,), daemon=True).start()


def qmp(port: int) -> Callable[[socket.socket], None]:
    def talk(connection: socket.socket) -> None:
        connection.sendall(b'{"QMP": {}}\n')
        for line in connection.makefile("r"):
            usernet = f"TCP[HOST_FORWARD] 12 127.0.0.1 {port} 10.0.2.15 22"
            answer = usernet if json.loads(line)["execute"] == "human-monitor-command" else {}
            connection.sendall(json.dumps({"return": answer}).encode() + b"\n")

    return talk


def identity(connection: socket.socket) -> None:
    for line in connection.makefile("r"):
        answer = {"id": json.loads(line)["id"], "rc": 0, "out": "", "time": time.time()}
        connection.sendall(json.dumps(answer).encode() + b"\n")


def run(behaviour: str) -> None:
    if behaviour == "abort":
        sys.stderr.write("qemu-system-x86_64: kvm_init_vcpu failed\n")
        sys.stderr.flush()
        os.abort()
    ssh = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=accept, args=(ssh, lambda connection: connection.sendall(b"SSH-2.0-x\r\n")), daemon=True).start()
    serve("identity", (lambda _: None) if behaviour == "hang" else identity)
    serve("qmp", qmp(ssh.getsockname()[1]))  # the last: who finds it takes all else for granted, as with QEMU
    time.sleep(600)


def main() -> None:
    if "--version" in sys.argv:
        sys.stdout.write("QEMU emulator version 7.2.22 (Debian)\n")
    elif any("isa-debug-exit" in word for word in sys.argv):
        sys.exit(33)
    else:
        accelerator = value("-accel").partition(",")[0]
        with Path(os.environ["FAKE_QEMU"]).with_suffix(".calls").open("a") as calls:
            calls.write(f"{accelerator}\n")
        run(json.loads(Path(os.environ["FAKE_QEMU"]).read_text())[accelerator])


if __name__ == "__main__":
    main()
