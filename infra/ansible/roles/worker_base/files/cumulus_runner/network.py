"""What a job's programs reach on a virtual machine: themselves, or the internet but no neighbour.

A program gets a network namespace in which there is a loopback device and nothing else. It is made once, with the service and so
before the job: a job's start costs two system calls then. The runner, the kernel's NFS client and sshd stay in the machine's own.
An app that may use the internet runs in the machine's network, too, where routing rules for its user refuse private addresses,
the networks that the machine is in, and the cloud's metadata service.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from cumulus_runner.errors import RunnerError

CLONE_NEWNET = 0x40000000
SIOCSIFFLAGS, IFF_UP_RUNNING = 0x8914, 0x41
USER_NAMESPACES = "/proc/sys/user/max_user_namespaces"
OPEN = -1  # in place of a handle: the machine's own network
LIBC = ctypes.CDLL(None, use_errno=True)
# Not on the internet (RFC 6890): this network, private ones, those behind a carrier's NAT, link-local ones with the metadata
# service, benchmarks, multicast and reserved ones.
PRIVATE_4 = (
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.168.0.0/16"),
    *("198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4"),
)
PRIVATE_6 = ("::ffff:0:0/96", "64:ff9b::/96", "fc00::/7", "fe80::/10", "ff00::/8")
ALLOW, REFUSE = 100, 101  # order of the rules; the kernel's own for the machine itself is 0
PROTOCOLS = (socket.IPPROTO_UDP, socket.IPPROTO_TCP)  # by number: a machine need not have /etc/protocols
LIMIT_S = 30.0


def closed_network() -> int:
    """A handle of a network with a loopback device alone; closed when this process and its children end. Raises RunnerError."""
    own = _handle()
    try:
        if LIBC.unshare(CLONE_NEWNET):
            raise _failure("no network can be made for the apps")
        try:
            with socket.socket() as any_socket:
                fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP_RUNNING))
            return _handle()
        finally:
            _enter(own)
    finally:
        os.close(own)


@contextmanager
def entered(network: int) -> Iterator[None]:
    """Within the block, what this thread starts is in that network; other threads' programs are not. Raises RunnerError."""
    if network == OPEN:
        yield
        return
    own = _handle()
    try:
        _enter(network)
        try:
            yield
        finally:
            _enter(own)
    finally:
        os.close(own)


def forbid_user_namespaces() -> None:
    """Programs without rights get none by namespaces of their own, in which they would be root."""
    with suppress(FileNotFoundError), open(USER_NAMESPACES, "w", encoding="ascii") as file:
        file.write("0")


def fence(uid: int, server: str) -> None:
    """Leave a user nothing but the internet and the name servers; ``server``: an address that it may not reach either.

    Raises RunnerError.
    """
    servers = name_servers()
    for family, private, table in (("-4", PRIVATE_4, "/proc/net/route"), ("-6", PRIVATE_6, "/proc/net/ipv6_route")):
        if family == "-6" and not os.path.exists(table):
            continue
        own = [one for one in servers if (":" in one) == (family == "-6")]
        near = [*private, *(neighbours_6(table) if family == "-6" else neighbours_4(table))]
        if (":" in server) == (family == "-6"):
            near.append(server)
        _apply(family, rules(uid, own, near))


def rules(uid: int, servers: list[str], near: list[str]) -> str:
    """Orders for ip(8): of ``near`` only the name servers are reached by the user, and of those only what answers for names."""
    who = f"uidrange {uid}-{uid}"
    lines = [
        f"rule add priority {ALLOW} {who} to {one} ipproto {protocol:d} dport 53 lookup main"
        for one in servers
        for protocol in PROTOCOLS
    ]
    lines += [f"rule add priority {REFUSE} {who} to {one} prohibit" for one in dict.fromkeys(near)]
    return "\n".join(lines) + "\n"


def name_servers(path: str = "/etc/resolv.conf") -> list[str]:
    """Addresses of the machine's name servers."""
    with suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
        words = [line.split() for line in file]
        return [line[1].partition("%")[0] for line in words if len(line) > 1 and line[0] == "nameserver"]
    return []


def neighbours_4(path: str = "/proc/net/route") -> list[str]:
    """The networks that the machine is in itself: its routes without a gateway."""
    found = []
    with suppress(OSError), open(path, encoding="ascii") as file:
        for line in list(file)[1:]:
            _, destination, gateway, _, _, _, _, mask, *_ = line.split()
            if int(gateway, 16) == 0 and int(mask, 16):
                address = socket.inet_ntoa(struct.pack("=I", int(destination, 16)))
                found.append(f"{address}/{int(mask, 16).bit_count()}")
    return found


def neighbours_6(path: str = "/proc/net/ipv6_route") -> list[str]:
    """The same for IPv6."""
    found = []
    with suppress(OSError), open(path, encoding="ascii") as file:
        for line in file:
            destination, length, _, _, gateway, *_, device = line.split()
            if int(gateway, 16) == 0 and int(length, 16) and device != "lo":
                found.append(f"{socket.inet_ntop(socket.AF_INET6, bytes.fromhex(destination))}/{int(length, 16)}")
    return found


def _apply(family: str, orders: str) -> None:
    """Rules that are there already stay."""
    import subprocess

    try:
        done = subprocess.run(
            ["/sbin/ip", family, "-force", "-batch", "-"],
            input=orders,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=LIMIT_S,
            text=True,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise RunnerError(f"the app's network cannot be fenced: {problem}") from None
    refused = [line for line in done.stderr.splitlines() if "File exists" not in line and not line.startswith("Command failed")]
    if refused:
        raise RunnerError(f"the app's network cannot be fenced: {refused[0]}")


def _handle() -> int:
    """Of the network that this thread is in."""
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _enter(network: int) -> None:
    if LIBC.setns(network, CLONE_NEWNET):
        raise _failure("the apps' network cannot be entered")


def _failure(what: str) -> RunnerError:
    return RunnerError(f"{what}: {os.strerror(ctypes.get_errno())}")
