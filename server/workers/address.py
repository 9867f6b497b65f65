"""Where a machine answers, as the worker module's outputs say."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Address:
    """``host``, ``port``: of its ssh server; ``boot``: how it started, in the cloud's own words."""

    host: str
    port: int
    user: str = ""
    host_key: str = ""
    boot: str = ""

    @classmethod
    def of(cls, outputs: dict[str, Any]) -> "Address":
        """From the outputs of the worker module; empty where there are none."""
        values = (outputs.get("address"), outputs.get("port"), outputs.get("user"), outputs.get("host_key"), outputs.get("boot"))
        host, port, user, key, boot = values
        return cls(str(host or ""), int(port or 0), str(user or ""), str(key or ""), str(boot or ""))
