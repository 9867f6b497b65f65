"""Commands that need root rights, for whoever runs make."""

from tests.scripts.checkout import Checkout


def test_a_command_as_root_keeps_its_environment(checkout: Checkout) -> None:
    checkout.know("open")
    result = checkout.run("scripts/as-root.sh", "bash", "-c", 'id; echo "$CUMULUS_HOME"', FAKE_UID="1000", CUMULUS_HOME="a b")
    assert (result.code, result.lines) == (0, ["0", "a b"])
    assert any("CUMULUS_HOME" in call for call in checkout.calls("sudo --preserve-env="))


def test_a_command_as_root_says_who_can_run_it(checkout: Checkout) -> None:
    result = checkout.run("scripts/as-root.sh", "id", FAKE_UID="1000")
    assert (result.code, len(result.lines)) == (1, 1)
    assert "there is no terminal to ask on. Run this as root, or without machines: CLOUD=local." in result.text
    (checkout.bin / "sudo").unlink()
    result = checkout.run("scripts/as-root.sh", "id", FAKE_UID="1000")
    assert (result.code, len(result.lines)) == (1, 1)
    assert "there is no sudo on this computer" in result.text
