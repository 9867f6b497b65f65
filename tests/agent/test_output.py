"""What rsync prints, and what its failures mean."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.queue.states import FailureKind
from agent.sending.rsync_failures import diagnose
from agent.sending.rsync_output import Item, Progress, Reader, unescape

# As rsync 3.5 printed it.
PRINTED = (
    b"\r              1   0%    0.00kB/s    0:00:00  \r              1   0%    0.00kB/s    0:00:00 (xfr#1, to-chk=7/8)\n"
    b"<f+++++++++:7c282968b0591d9654a7d9dde88eadb0:1:-dash\n"
    b"<f+++++++++:c311d21b3583875acbaa0f6724ae8b0a:1:back\\#134#012\n"
    b"\r        3000003  99%    3.21MB/s    0:00:00 (xfr#4, to-chk=4/8)\n"
    b'<f+++++++++:c311d21b3583875acbaa0f6724ae8b0a:1:new\\#012line \xc3\xa9 "q\n'
    b"cd+++++++++:                                :4096:a.d/\n"
    b".f         :                                :2:a.d/1:2\n"
    b">f.st......:64c61fcacd1b659a7c3ae6196462dc30:3000000:big.raw\n"
)
ITEMS = [
    Progress(1),
    Progress(1),
    Item("<f+++++++++", "-dash", 1, "7c282968b0591d9654a7d9dde88eadb0"),
    Item("<f+++++++++", "back\\#012", 1, "c311d21b3583875acbaa0f6724ae8b0a"),
    Progress(3000003),
    Item("<f+++++++++", 'new\nline é "q', 1, "c311d21b3583875acbaa0f6724ae8b0a"),
    Item("cd+++++++++", "a.d", 4096, ""),
    Item(".f         ", "a.d/1:2", 2, ""),
    Item(">f.st......", "big.raw", 3000000, "64c61fcacd1b659a7c3ae6196462dc30"),
]
CAUSES = [
    (255, "ssh: connect to host c port 22: Connection refused\r\nrsync: connection unexpectedly closed", FailureKind.NETWORK),
    (255, "ssh: Could not resolve hostname c: Name or service not known", FailureKind.NETWORK),
    (255, "ssh: connect to host c port 22: No route to host", FailureKind.NETWORK),
    (12, "client_loop: send disconnect: Broken pipe\nrsync: [sender] write error: Broken pipe (32)", FailureKind.NETWORK),
    (30, "[sender] io timeout after 60 seconds -- exiting", FailureKind.NETWORK),
    (10, "rsync: [sender] failed to connect to c (10.0.0.1): Connection timed out (110)", FailureKind.NETWORK),
    (12, "", FailureKind.INTERRUPTED),
    (
        20,
        "rsync error: received SIGINT, SIGTERM, or SIGHUP (code 20) at rsync.c(716) [sender=3.5.0]",
        FailureKind.INTERRUPTED,
    ),
    (-9, "", FailureKind.INTERRUPTED),
    (11, 'rsync: [receiver] write failed on "/s/data/a": No space left on device (28)', FailureKind.TARGET_FULL),
    (11, 'rsync: [receiver] write failed on "/s/data/a": Disk quota exceeded (122)', FailureKind.TARGET_FULL),
    (23, 'rsync: [receiver] mkstemp "/s/data/.a.XXXXXX" failed: Permission denied (13)', FailureKind.TARGET_REFUSES),
    (23, 'rsync: [receiver] mkstemp "/s/data/.a.XXXXXX" failed: Read-only file system (30)', FailureKind.TARGET_REFUSES),
    (11, 'rsync: [Receiver] mkdir "/s/jobs/Job_1/input" failed: No such file or directory (2)', FailureKind.TARGET_GONE),
    (12, "cumulus-receive: there is no folder of the job", FailureKind.TARGET_GONE),
    (12, "cumulus-receive: this place is not for uploads", FailureKind.TARGET_REFUSES),
    (
        255,
        "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.",
        FailureKind.HOST_KEY_CHANGED,
    ),
    (255, "No ED25519 host key is known for c and you have requested strict checking.", FailureKind.HOST_KEY_CHANGED),
    (255, "cumulus@c: Permission denied (publickey).", FailureKind.LOGIN_REFUSED),
    (5, "@ERROR: auth failed on module cumulus", FailureKind.LOGIN_REFUSED),
    (23, 'rsync: [sender] send_files failed to open "/i/a": Permission denied (13)', FailureKind.SOURCE_UNREADABLE),
    (23, 'rsync: [sender] link_stat "/i/a" failed: No such file or directory (2)', FailureKind.SOURCE_UNREADABLE),
    (24, 'file has vanished: "/i/a.d/1"', FailureKind.SOURCE_CHANGED),
    (1, "rsync: --fsync: unknown option", FailureKind.SETUP),
    (127, "bash: line 1: rsync: command not found", FailureKind.SETUP),
    (23, "something new", FailureKind.UNKNOWN),
]


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_the_output_is_read_in_whatever_pieces_it_comes(size: int) -> None:
    reader = Reader()
    pieces = [PRINTED[start : start + size] for start in range(0, len(PRINTED), size)]
    assert [event for piece in pieces for event in reader.feed(piece)] == ITEMS


def test_a_line_without_an_end_does_not_fill_the_memory() -> None:
    reader = Reader()
    for _ in range(1000):
        assert list(reader.feed(b"x" * 10_000)) == []
    assert len(reader._rest) <= 74_000


@given(st.binary(min_size=1))
def test_every_name_survives_being_printed(name: bytes) -> None:
    def printed(byte: int, rest: bytes) -> bytes:  # as rsync's filtered_fwrite does
        backslash = byte == 0x5C and len(rest) > 4 and rest[1:2] == b"#" and all(48 <= one <= 57 for one in rest[2:5])
        return b"\\#%03o" % byte if byte < 0x20 or byte >= 0x7F or backslash else bytes([byte])

    assert unescape(b"".join(printed(byte, name[place:]) for place, byte in enumerate(name))) == name


@pytest.mark.parametrize(("code", "stderr", "failure"), CAUSES)
def test_a_failure_is_classified(code: int, stderr: str, failure: FailureKind) -> None:
    assert diagnose(code, stderr).failure is failure


@pytest.mark.parametrize("trouble", list(FailureKind))
def test_what_may_pass_by_itself_is_tried_again(trouble: FailureKind) -> None:
    assert trouble.retryable == (trouble in (FailureKind.NETWORK, FailureKind.INTERRUPTED, FailureKind.TARGET_FULL))
    assert trouble.text.endswith(".") or trouble.text.endswith("between.")


def test_the_tools_own_words_are_one_short_line() -> None:
    found = diagnose(11, "noise\n" + "x" * 500 + " No space left on device\nmore")
    assert "\n" not in found.text
    assert len(found.words) <= 300
