"""Set-up on a fresh computer: what it says, what it waits for, and what it repairs. The system's programs are fakes."""

import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from server.settings import CHECKOUT
from tests.conftest import eventually
from tests.scripts.checkout import Checkout, Result

QEMU = ("run", "qemu")


def shows_no_program_text(result: Result) -> bool:
    return "Traceback" not in result.text and ".sh: line" not in result.text


def test_a_fresh_computer_gets_packages_and_environment(checkout: Checkout) -> None:
    result = checkout.setup(*QEMU)
    assert result.code == 0
    assert len(checkout.calls("apt-get")) == 2, "one update, one install"
    assert (checkout.world / "installed" / "qemu-system-x86").exists()
    assert [line.partition(":")[0] for line in result.lines if line.endswith(" s")] != []
    assert (checkout.folder / ".venv" / ".installed").exists()
    assert "\r" not in result.text


def test_a_second_setup_does_nothing_and_asks_dpkg_once(checkout: Checkout) -> None:
    checkout.setup(*QEMU)
    (checkout.world / "calls").unlink()
    result = checkout.setup(*QEMU)
    assert (result.code, result.text) == (0, "")
    assert len(checkout.calls("dpkg-query")) == 1
    assert checkout.calls("apt-get") == []
    assert [call for call in checkout.calls("python") if "pip" in call] == []


def test_packages_and_python_are_installed_beside_each_other(checkout: Checkout) -> None:
    checkout.know("meet")
    assert checkout.setup().code == 0, "each waits for the other to be at work"


def test_python_comes_first_where_there_is_none(checkout: Checkout) -> None:
    (checkout.bin / "python3").rename(checkout.world / "python")
    result = checkout.setup(SETUP_PYTHON=str(checkout.bin / "python3"))
    assert result.code == 0, result.text
    installs = [call for call in checkout.calls("apt-get") if " install " in call]
    assert ["python3-venv" in call for call in installs] == [True, False]


def test_setup_itself_refuses_an_unknown_cloud_and_an_unknown_profile(checkout: Checkout) -> None:
    assert checkout.setup("run", "cloud9").lines == ["setup.sh: CLOUD can be qemu, openstack or local; 'cloud9' is none of them."]
    assert checkout.setup("run", "cloud9").code == 2
    result = checkout.setup("all")
    assert (result.code, len(result.lines)) == (2, 1)
    assert "run|dev" in result.text


def test_setup_waits_for_another_package_manager_and_names_it(checkout: Checkout) -> None:
    checkout.know("lock", "4711")
    checkout.know("lock-once")
    result = checkout.setup()
    assert result.code == 0
    assert re.search(
        r"waiting for another package manager, process 4711 \(unattended-upgr\), which holds the package lock \(\d s; "
        r"up to 10 min\)",
        result.text,
    )


def test_a_lock_that_is_never_given_back_ends_setup_with_a_code_of_its_own(checkout: Checkout) -> None:
    checkout.know("lock", "4711")
    result = checkout.setup(SETUP_WAIT_S="0")
    assert result.code == 75
    assert re.search(
        r"process 4711 \(unattended-upgr\) has held the package lock for \d s. When it has ended, repeat the command.",
        result.text,
    )
    assert shows_no_program_text(result)


def test_on_a_terminal_the_wait_is_counted(checkout: Checkout) -> None:
    checkout.know("lock", "4711")
    result = checkout.on_terminal("scripts/setup.sh", "run", "openstack", SETUP_WAIT_S="2")
    assert "waiting for another package manager, process 4711" in result.text.partition("given up")[0]
    assert result.code == 75


def test_package_lists_that_cannot_be_read_are_no_reason_to_stop(checkout: Checkout) -> None:
    checkout.know("no-lists")
    result = checkout.setup()
    assert result.code == 0
    assert "some package lists could not be read (.venv/log/lists.log says which)" in result.text


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("E: Unable to locate package comet-ms", "is 'universe' switched on?"),
        ("Err:1 Temporary failure resolving 'deb.debian.org'", "is there a network?"),
        ("E: something else", "repeat the command"),
    ],
)
def test_a_failing_install_shows_its_last_lines_where_all_is_and_what_to_do(checkout: Checkout, said: str, advice: str) -> None:
    checkout.know("fails", "".join(f"line {number}\n" for number in range(100)) + said + "\n")
    result = checkout.setup()
    assert result.code == 1
    assert said in result.text
    assert "line 3\n" not in result.text
    assert "The whole output is in .venv/log/packages.log." in result.text
    assert "line 3\n" in (checkout.folder / ".venv/log/packages.log").read_text()
    assert advice in result.lines[-1]
    assert shows_no_program_text(result)


def test_what_an_interrupted_dpkg_left_is_repaired_first(checkout: Checkout) -> None:
    checkout.know("broken")
    result = checkout.setup()
    assert result.code == 0
    assert "Finishing what an interrupted dpkg left" in result.text
    assert any("--configure -a" in call for call in checkout.calls("dpkg "))


def test_optional_packages_that_a_release_lacks_are_named_once_and_left_out(checkout: Checkout) -> None:
    (checkout.world / "lacks" / "topp").touch()
    result = checkout.setup("run", "local")
    assert "not packaged in this release, left out: topp" in result.text
    assert not any("topp" in call for call in checkout.calls("apt-get"))
    assert checkout.setup("run", "local").text == ""


def test_where_there_is_no_apt_the_names_are_said_and_the_environment_is_made(checkout: Checkout) -> None:
    (checkout.bin / "apt-get").unlink()
    result = checkout.setup()
    assert result.code == 0
    assert "this is neither Debian nor Ubuntu: install by hand what corresponds to openssh-client rsync" in result.lines
    assert checkout.setup().text == ""


def test_without_sudo_the_packages_and_who_installs_them_are_named(checkout: Checkout) -> None:
    (checkout.bin / "sudo").unlink()
    result = checkout.setup(FAKE_UID="1000")
    assert result.code == 1
    assert result.lines == [
        "setup.sh: packages have to be installed, but there is no sudo on this computer. "
        "As root: apt-get install --no-install-recommends openssh-client rsync  Then repeat the command."
    ]


def test_without_a_terminal_a_password_is_not_waited_for(checkout: Checkout) -> None:
    result = checkout.setup(FAKE_UID="1000")
    assert result.code == 1
    assert len(result.lines) == 1
    assert "sudo asks for a password, and there is no terminal to ask on. As root: apt-get install" in result.text
    assert checkout.calls("apt-get") == []


def test_on_a_terminal_the_password_is_asked_for_once_before_anything_else(checkout: Checkout) -> None:
    checkout.know("password")
    result = checkout.on_terminal("scripts/setup.sh", *QEMU, FAKE_UID="1000")
    assert result.code == 0, result.text
    assert result.lines[0] == "Packages of the system have to be installed: sudo asks for your password, once."
    assert len(checkout.calls("sudo -v")) == 1
    calls = (checkout.world / "calls").read_text()
    assert calls.index("sudo -v") < calls.index("-m venv")


def test_a_wrong_password_ends_setup_with_what_to_do(checkout: Checkout) -> None:
    result = checkout.on_terminal("scripts/setup.sh", *QEMU, FAKE_UID="1000")
    assert result.code == 1
    assert "sudo did not give root rights. As root: apt-get install" in result.text
    assert checkout.calls("apt-get") == []


def test_a_second_setup_waits_for_the_first_and_finds_all_done(checkout: Checkout) -> None:
    checkout.know("pip-slow", "2")
    first = checkout.start("scripts/setup.sh", "run", "openstack")
    eventually((checkout.folder / ".venv" / "log" / "python-packages.log").exists, 30)
    second = checkout.setup()
    assert first.wait(30) == 0
    assert first.stdout
    first.stdout.close()
    assert second.code == 0
    assert len(second.lines) == 1
    assert second.lines[0].startswith("waiting for another set-up that is at work in this checkout (")
    assert len([call for call in checkout.calls("python") if " -r " in call]) == 1


def test_a_second_setup_does_not_wait_for_ever(checkout: Checkout) -> None:
    with subprocess.Popen(["flock", str(checkout.folder), "sleep", "30"]) as holder:
        while subprocess.run(["flock", "-n", str(checkout.folder), "true"]).returncode == 0:
            time.sleep(0.02)
        result = checkout.setup(SETUP_WAIT_S="0")
        holder.kill()
    assert result.code == 75
    assert "another set-up of this checkout has been at work for too long" in result.text


def test_a_daemon_that_a_package_starts_does_not_hold_the_lock(checkout: Checkout) -> None:
    checkout.know("daemon")
    assert checkout.setup().code == 0
    daemon = int((checkout.world / "daemon").read_text())
    try:
        assert subprocess.run(["flock", "-n", str(checkout.folder), "true"]).returncode == 0
    finally:
        os.kill(daemon, signal.SIGKILL)


def test_a_setup_that_is_killed_with_all_its_programs_is_repaired_by_the_next(checkout: Checkout) -> None:
    checkout.know("pip-slow", "50")
    first = checkout.start("scripts/setup.sh", "run", "openstack")
    eventually((checkout.folder / ".venv" / "log" / "python-packages.log").exists, 30)
    subprocess.run(["pkill", "-9", "--session", str(first.pid)], check=True)
    first.communicate()
    (checkout.world / "pip-slow").unlink()
    result = checkout.setup()
    assert result.code == 0
    assert "making .venv anew: an earlier set-up was interrupted" in result.lines


def test_where_only_the_script_is_killed_the_next_setup_waits_for_what_still_writes(checkout: Checkout) -> None:
    checkout.know("pip-slow", "2")
    first = checkout.start("scripts/setup.sh", "run")
    eventually((checkout.folder / ".venv" / "log" / "python-packages.log").exists, 30)
    first.kill()
    result = checkout.setup("run")
    first.communicate()
    assert result.code == 0
    assert "waiting for another set-up" in result.lines[0]


def test_ctrl_c_ends_pip_at_once_and_says_how_it_goes_on(checkout: Checkout) -> None:
    checkout.know("pip-slow", "50")
    result = checkout.on_terminal("scripts/setup.sh", "run", after=("Python packages: 1/2", "\x03"))
    assert result.code == 130
    assert result.lines[-1] == "interrupted: the next set-up continues from here"
    assert shows_no_program_text(result)
    assert not (checkout.folder / ".venv" / ".installed").exists()


def test_ctrl_c_lets_dpkg_finish(checkout: Checkout) -> None:
    checkout.know("slow", "1")
    result = checkout.on_terminal("scripts/setup.sh", "run", "openstack", after=("unpacked 1/2", "\x03"))
    assert result.code == 130
    assert "interrupted: waiting until dpkg has finished what it began" in result.text
    assert (checkout.world / "installed" / "rsync").exists()


def made(checkout: Checkout) -> Path:
    assert checkout.setup("run").code == 0
    return checkout.folder / ".venv"


def test_an_environment_without_pip_is_made_anew(checkout: Checkout) -> None:
    venv = made(checkout)
    (venv / "bin" / "pip").unlink()
    (checkout.folder / "requirements.lock").write_text("click==8.2\n")
    assert "making .venv anew: it has no pip" in checkout.setup("run").lines


def test_an_environment_whose_python_is_gone_is_made_anew(checkout: Checkout) -> None:
    venv = made(checkout)
    (venv / "bin" / "python").unlink()
    result = checkout.setup("run")
    assert "making .venv anew: its Python does not run" in result.lines
    assert result.code == 0


def test_an_environment_for_another_python_is_made_anew(checkout: Checkout) -> None:
    made(checkout)
    checkout.know("version", "3.13")
    assert "making .venv anew: it was made for Python 3.12, and this is 3.13" in checkout.setup("run").lines


def test_the_environment_of_a_moved_checkout_is_made_anew(checkout: Checkout) -> None:
    made(checkout)
    before = checkout.folder
    checkout.folder = checkout.folder.rename(checkout.root / "elsewhere")
    result = checkout.setup("run")
    assert f"making .venv anew: it was made in {before}" in result.lines
    assert checkout.setup("run").text == ""


def test_a_changed_lock_adds_to_the_environment_that_is_there(checkout: Checkout) -> None:
    made(checkout)
    (checkout.folder / "requirements.lock").write_text("click==8.2\n")
    result = checkout.setup("run")
    assert "anew" not in result.text
    assert "Installing Python packages …" in result.lines


def test_dev_includes_run(checkout: Checkout) -> None:
    assert checkout.setup("dev").code == 0
    assert checkout.setup("run").text == ""
    assert "making .venv anew" not in checkout.setup("dev").text


def test_a_terraform_that_is_gone_is_replaced(checkout: Checkout) -> None:
    venv = made(checkout)
    (checkout.bin / "terraform").unlink()
    assert checkout.setup("run").code == 0
    assert (venv / "bin" / "terraform").read_text().startswith(f"#!{venv}/bin/python\n")
    assert checkout.setup("run").text == ""


def test_a_failing_pip_shows_its_last_lines_and_what_to_do(checkout: Checkout) -> None:
    checkout.know("pip-fails", "Failed to establish a new connection\n")
    result = checkout.setup("run")
    assert result.code == 1
    assert "Failed to establish a new connection" in result.text
    assert "The whole output is in .venv/log/python-packages.log." in result.text
    assert "is there a network, and does pip's configuration name the right index?" in result.lines[-1]


def test_no_line_of_progress_is_longer_than_the_terminal(checkout: Checkout) -> None:
    checkout.know("slow", "1")
    result = checkout.on_terminal("scripts/setup.sh", *QEMU)
    drawn = [piece for line in result.text.split("\n") for piece in line.split("\r\033[K")]
    assert any("unpacked 1/2" in piece for piece in drawn)
    assert max(map(len, drawn)) < 80


WHEEL_BACKEND = """
import zipfile
def build_editable(folder, config_settings=None, metadata_directory=None):
    name = "cumulus-1.0-py3-none-any.whl"
    with zipfile.ZipFile(folder + "/" + name, "w") as wheel:
        wheel.writestr("cumulus_is_here.py", "")
        wheel.writestr("cumulus-1.0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: cumulus\\nVersion: 1.0\\n")
        wheel.writestr("cumulus-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("cumulus-1.0.dist-info/RECORD", "")
    return name
"""


def test_the_real_python_and_pip_make_an_environment(checkout: Checkout) -> None:
    (checkout.folder / "backend.py").write_text(WHEEL_BACKEND)
    (checkout.folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "cumulus"\nversion = "1.0"\n'
    )
    (checkout.folder / "requirements.lock").write_text("")
    result = checkout.setup("run", SETUP_PYTHON=sys.executable)
    assert result.code == 0, result.text
    again = checkout.setup("run", SETUP_PYTHON=sys.executable)
    assert again.text == ""
    subprocess.run([checkout.folder / ".venv/bin/python", "-c", "import cumulus_is_here"], check=True)


def test_the_lock_of_this_checkout_is_complete() -> None:
    """Packages are installed without looking at what they depend on: the lock must name it all."""
    checked = subprocess.run([CHECKOUT / ".venv/bin/python", "-m", "pip", "check"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize(
    ("package", "lock"),
    [
        ("pyproject.toml", "requirements.lock"),
        ("pyproject.toml", "requirements-dev.lock"),
        ("agent/pyproject.toml", "agent/requirements.lock"),
    ],
)
def test_the_locked_versions_are_those_that_are_asked_for(package: str, lock: str) -> None:
    """Otherwise scripts/lock.sh has to write the lock anew."""
    project = tomllib.loads((CHECKOUT / package).read_text())["project"]
    asked = project["dependencies"] + (project["optional-dependencies"]["dev"] if "-dev" in lock else [])
    locked = dict(re.findall(r"^([a-z0-9.-]+)==(\S+)", (CHECKOUT / lock).read_text(), re.MULTILINE))
    for requirement in map(Requirement, asked):
        assert requirement.specifier.contains(locked[requirement.name]), requirement
