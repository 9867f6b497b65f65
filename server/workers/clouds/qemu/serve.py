"""The provider as a process: one for all terraforms of a controller, or one that terraform starts for itself.

Owns the server only. The framework's own servers end at once when terraform says StopProvider, which it does when
somebody interrupts it: a creation in progress would be lost, and with a shared process everybody's. Here StopProvider
changes nothing; an interrupted terraform waits for its machine and records it.

``serve.py shared`` prints the value for ``TF_REATTACH_PROVIDERS`` (one JSON line) and ends when its standard input does,
that is with whoever started it, after the creations in progress. ``serve.py plugin`` speaks terraform's own handshake
(https://github.com/hashicorp/go-plugin) and ends when terraform says so.
"""

import argparse
import base64
import json
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from tf.gen import (
    grpc_controller_pb2,
    grpc_controller_pb2_grpc,
    grpc_stdio_pb2_grpc,
    tfplugin_pb2_grpc,
)
from tf.provider import ProviderServicer
from tf.runner import _self_signed_cert

from server.cloud_settings.qemu import Accelerator
from server.workers.clouds.qemu.accelerator import VARIABLE
from server.workers.clouds.qemu.provider.provider import Call, QemuProvider, provider_at

THREADS = 64  # machines in the making at once
DRAIN_S = 600.0
POLL_S = 1.0
PLUGIN_VERSION = 1
PROTOCOL_VERSION = 6


def serve_shared(provider: QemuProvider) -> None:
    """Serve until standard input ends."""
    with _server(provider) as (server, address):
        server.add_insecure_port(f"unix://{address}")
        server.start()
        sys.stdout.write(json.dumps(reattach(provider.full_name(), address, os.getpid())) + "\n")
        sys.stdout.flush()
        sys.stdin.buffer.read()
        server.stop(DRAIN_S).wait()


def serve_plugin(provider: QemuProvider) -> None:
    """Serve the terraform that started this process, until it says Shutdown or is gone."""
    done, terraform = threading.Event(), os.getppid()
    with _server(provider) as (server, address):
        grpc_controller_pb2_grpc.add_GRPCControllerServicer_to_server(_Controller(done), server)
        grpc_stdio_pb2_grpc.add_GRPCStdioServicer_to_server(_Stdio(), server)
        certificate, credentials = _self_signed_cert()
        server.add_secure_port(f"unix://{address}", credentials)
        server.start()
        trust = base64.b64encode(certificate).decode().rstrip("=")
        sys.stdout.write(f"{PLUGIN_VERSION}|{PROTOCOL_VERSION}|unix|{address}|grpc|{trust}\n")
        sys.stdout.flush()
        while not done.wait(POLL_S) and os.getppid() == terraform:
            pass
        server.stop(DRAIN_S).wait()


def reattach(name: str, address: str, pid: int) -> dict[str, object]:
    """The value of ``TF_REATTACH_PROVIDERS``. ``Test``: terraform must not end the process."""
    where = {"Network": "unix", "String": address}
    return {name: {"Protocol": "grpc", "ProtocolVersion": PROTOCOL_VERSION, "Pid": pid, "Test": True, "Addr": where}}


@contextmanager
def _server(provider: QemuProvider) -> Iterator[tuple[grpc.Server, str]]:
    """A server that knows the provider and a private address for it: who can open the socket can create machines."""
    server = grpc.server(futures.ThreadPoolExecutor(THREADS))
    tfplugin_pb2_grpc.add_ProviderServicer_to_server(_Servicer(provider), server)
    with tempfile.TemporaryDirectory(prefix="cumulus-provider-") as folder:  # mode 0700, and a short name
        yield server, f"{folder}/socket"


class _Servicer(ProviderServicer):  # type: ignore[misc]
    """The framework's, with an eye on whether terraform still waits for a change that it has ordered."""

    def ApplyResourceChange(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        call, answered = Call(), threading.Event()
        context.add_callback(lambda: None if answered.is_set() else threading.Thread(target=call.abandon).start())
        try:
            return ProviderServicer(QemuProvider(self.app.machines.home, call)).ApplyResourceChange(request, context)
        finally:
            answered.set()


class _Controller(grpc_controller_pb2_grpc.GRPCControllerServicer):  # type: ignore[misc]
    def __init__(self, done: threading.Event) -> None:
        self._done = done

    def Shutdown(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802, ARG002
        self._done.set()
        return grpc_controller_pb2.Empty()


class _Stdio(grpc_stdio_pb2_grpc.GRPCStdioServicer):  # type: ignore[misc]
    """Terraform asks for the plugin's output this way; it has none."""

    def StreamStdio(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:  # noqa: N802, ARG002
        return iter(())


def main() -> None:
    """Entry point of both."""
    arguments = argparse.ArgumentParser(description="Terraform provider for machines on this computer")
    arguments.add_argument("how", choices=("shared", "plugin"))
    arguments.add_argument("--home", type=Path, required=True, help="$CUMULUS_HOME")
    arguments.add_argument("--accelerator", default=os.environ.get(VARIABLE) or Accelerator.AUTO, help=" or ".join(Accelerator))
    given = arguments.parse_args()
    if given.accelerator not in set(Accelerator):
        arguments.error(f"{VARIABLE} must be {' or '.join(Accelerator)}, not {given.accelerator}")
    serve = serve_shared if given.how == "shared" else serve_plugin
    serve(provider_at(given.home, Accelerator(given.accelerator)))


if __name__ == "__main__":
    main()
