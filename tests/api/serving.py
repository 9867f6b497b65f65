"""The API of a controller over a real socket, for a test."""

import contextlib
import threading
from collections.abc import Iterator

from waitress import create_server

from server.api.unread import Channel
from server.app import Controller, create_app

END_LOOK_S = 0.05  # how often the server looks whether it has been closed; its own second would be each test's


@contextlib.contextmanager
def listening(controller: Controller) -> Iterator[int]:
    """Answer requests within the block; gives the port."""
    server = create_server(create_app(controller), host="127.0.0.1", port=0, threads=4, asyncore_loop_timeout=END_LOOK_S)
    server.channel_class = Channel

    def run() -> None:
        with contextlib.suppress(OSError):  # its socket is closed under it at the end
            server.run()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield server.effective_port
    finally:
        server.close()
        server.task_dispatcher.shutdown()
        thread.join(5)
