"""What is said over ssh to machines that are made for the template: waiting until one answers, and the scripts that run there."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.errors import CloudError, InfrastructureError
from server.settings import Settings
from server.workers.clouds.openstack.waiting import Limit, Waiting
from server.workers.clouds.smoke_test import once_ready
from server.workers.clouds.ssh import CommandFailed, Login, run_over_ssh

# Runs a shell script on a machine as root, within so many seconds; returns what it prints, raises CommandFailed.
Run = Callable[[Login, str, float], str]
ANSWER_LIMIT_S = 600.0
TRY_LIMIT_S = 60.0
SEAL_LIMIT_S = 300.0
CHECK_LIMIT_S = 180.0
# Nothing that a machine of the next snapshot must not find, and nothing unwritten. Cloud-init, where there is one, will take its
# next start for the first. Nova would switch a machine off after a minute, whatever it is doing, so it shuts itself down.
SEAL = """\
set -e
if command -v cloud-init > /dev/null; then cloud-init clean --logs; fi
apt-get clean
find /tmp /var/tmp -mindepth 1 -delete 2> /dev/null || true
mountpoint -q /etc/machine-id || : > /etc/machine-id
sync
systemctl --no-block poweroff
"""
# No lease ends before the administrator is done.
HOLD = "echo 4000000000 > /run/cumulus-lease"
# As a job does it: the service that waits for one, the runner's own mount, and a file written where jobs write theirs.
MOUNT = """\
cd /usr/local/lib/cumulus
python3 -c 'from cumulus_runner import mounts; mounts.mount_storage("{host}", {port})'
ls /run/cumulus/nfs/data > /dev/null
probe=$(mktemp /run/cumulus/nfs/jobs/.cumulus.trial.XXXXXX)
rm "$probe"
"""
UNMOUNT = "umount -R /run/cumulus/nfs"


@dataclass(frozen=True)
class Guests:
    """Reaches machines of one installation. ``key``: the private key that logs in."""

    settings: Settings
    key: Path
    waiting: Waiting
    run: Run = run_over_ssh

    def login(self, outputs: dict[str, Any]) -> Login:
        """How to log in on the machine with these outputs of its module."""
        host_key, address = str(outputs["host_key"]), str(outputs["address"])
        return Login(int(outputs["port"]), self.key, host_key, str(outputs["user"]), address)

    def await_answer(self, login: Login, lost: Callable[[], str], tell: Callable[[str], None] = lambda _: None) -> None:
        """Wait until the machine lets us in. ``lost``: why there is no point in waiting, "" while there is one.

        ``tell``: called after each try with the reason why it does not. Raises InfrastructureError.
        """
        said = "nothing"

        def answers() -> bool | None:
            nonlocal said
            try:
                self.run(login, "true", TRY_LIMIT_S)
            except CommandFailed as problem:
                said = problem.message
                tell(said)
            else:
                return True
            if why := lost():
                raise InfrastructureError(f"the machine at {login.address} {why}; ssh said: {said}")
            return None

        try:
            self.waiting.until(answers, Limit(ANSWER_LIMIT_S), "no")
        except CloudError:
            text = f"the machine at {login.address} does not let us in after {ANSWER_LIMIT_S:.0f} s; ssh said: {said}"
            raise InfrastructureError(text) from None

    def seal(self, login: Login) -> None:
        """Leave the machine's disk as one to copy, and have it switch itself off. Raises CommandFailed."""
        self.run(login, SEAL, SEAL_LIMIT_S)

    def hold(self, login: Login) -> None:
        """Have the machine go on until it is stopped. Raises CommandFailed."""
        self.run(login, HOLD, CHECK_LIMIT_S)

    def mount(self, login: Login) -> None:
        """Mount the storage as a job does. Raises CommandFailed."""
        script = MOUNT.format(host=self.settings.openstack_nfs_host, port=self.settings.openstack_nfs_port)
        self.run(login, once_ready(script), CHECK_LIMIT_S)
