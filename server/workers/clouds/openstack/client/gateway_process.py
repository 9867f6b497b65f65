"""The gateway's process: started by a controller when its first terraform needs it, and again where it has ended."""

import json
import re
import subprocess
import sys
import threading

import structlog

from server.errors import CumulusError
from server.settings import CHECKOUT, Settings
from server.workers.clouds.openstack.client.access import Access

SERVICES = {"compute": "compute", "volumev3": "block_storage"}  # by the provider's names, and the SDK's
PLACE = re.compile(rf"http://127\.0\.0\.1:\d+/({'|'.join(SERVICES)})/")
VARIABLE = "TF_VAR_endpoints"
LINGER_S = 15.0  # a provider that waits asks every 10 s
log = structlog.get_logger()


class GatewayProcess:
    """One installation's. Where it cannot be had, Terraform asks the cloud itself, which takes longer and no more."""

    def __init__(self, access: Access, settings: Settings, linger_s: float = LINGER_S) -> None:
        self._access = access
        self._settings = settings
        self._linger_s = linger_s
        self._lock = threading.Lock()
        self._is_wanted = False
        self._process: subprocess.Popen[str] | None = None
        self._port = 0
        self._services: dict[str, str] = {}

    def allow(self) -> None:
        """From now on it is started when it is needed: a command that calls Terraform once does without."""
        self._is_wanted = True

    def environment(self) -> dict[str, str]:
        """What makes the provider ask the gateway; empty where there is none."""
        with self._lock:
            if not self._is_wanted:
                return {}
            if self._process is None or self._process.poll() is not None:
                self._start()
            if self._process is None:
                return {}
        return {VARIABLE: json.dumps({name: f"http://127.0.0.1:{self._port}/{name}/" for name in SERVICES})}

    def with_cloud_addresses(self, text: str) -> str:
        """The same with the cloud's own addresses: nobody is helped by the port of a gateway that may have ended since."""
        return PLACE.sub(lambda found: f"{self._services.get(found[1], found[0]).rstrip('/')}/", text)

    def stop(self) -> None:
        """Let it end, which it does when the last terraform has ended."""
        with self._lock:
            self._is_wanted = False
            if self._process is not None and self._process.stdin is not None:
                self._process.stdin.close()
            self._process = None

    def _start(self) -> None:
        self._process = None
        try:
            config = self._config()
            process = subprocess.Popen(
                [sys.executable, "-m", "server.workers.clouds.openstack.client.gateway"],
                cwd=CHECKOUT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                start_new_session=True,  # it outlives a Ctrl-C as terraform does
            )
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps(config) + "\n")
            process.stdin.flush()
            self._port = int(process.stdout.readline() or 0)
            process.stdout.close()
        except (CumulusError, OSError, ValueError) as problem:
            log.warning("terraform asks the cloud itself: its gateway could not be started", detail=str(problem))
            return
        if self._port:
            self._process = process
            log.info("terraform asks the cloud through a gateway", port=self._port)

    def _config(self) -> dict[str, object]:
        """What the gateway needs to ask the cloud. Raises CloudError."""
        with self._access.use() as cloud:
            services = {
                name: str(getattr(cloud, proxy).get_endpoint(skip_discovery=True) or "") for name, proxy in SERVICES.items()
            }
            if not all(services.values()):
                raise ValueError("the cloud's catalogue lacks a service")
            self._services, session = services, cloud.session
            return {
                "services": services,
                "verify": session.verify,
                "cert": session.cert,
                "retries": self._settings.openstack_retries,
                "requests_per_s": self._settings.openstack_requests_per_s,
                "linger_s": self._linger_s,
            }
