"""What may stand in a log."""

import codecs

from cumulus_runner.lines import MAX_LINE, PREFIXES, Lines
from hypothesis import given
from hypothesis import strategies as st

text = st.text(alphabet=st.one_of(st.sampled_from("[]INFOSERVER\n\r\t \x85\u2028\x0b\x1b"), st.characters(codec="utf-8")))


class Clock:
    """Seconds as a test wants them."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def lines_of(*parts: bytes, prefix: str = "", clock: Clock | None = None) -> list[str]:
    said: list[str] = []
    lines = Lines(said.append, clock or Clock(), prefix)
    for part in parts:
        lines.feed(part)
    lines.end()
    return said


@given(st.lists(st.one_of(st.binary(), text.map(str.encode))))
def test_nothing_a_program_says_passes_for_ours_or_breaks_a_line(parts: list[bytes]) -> None:
    for line in lines_of(*parts):
        assert not line.startswith(PREFIXES)
        assert len(f"{line}|".splitlines()) == 1
        assert len(line) <= MAX_LINE + 1


@given(st.binary(), st.data())
def test_how_the_bytes_come_in_makes_no_difference(data: bytes, draw: st.DataObject) -> None:
    at = draw.draw(st.integers(0, len(data)))
    whole = b"start\n" + data.replace(b"\r", b"") + b"\nend"
    assert lines_of(whole) == lines_of(whole[: 6 + at], whole[6 + at :])


@given(st.text(alphabet="abc é漢\n"))
def test_plain_text_comes_out_as_it_went_in(said: str) -> None:
    assert "\n".join(lines_of(said.encode())) == (said.removesuffix("\n"))


def test_a_line_end_of_windows_is_one_line_end() -> None:
    assert lines_of(b"a\r\nb\r", b"\nc") == ["a", "b", "c"]


def test_of_a_progress_bar_some_states_remain_and_the_last() -> None:
    clock, said = Clock(), list[str]()
    lines = Lines(said.append, clock)
    for percent in range(101):
        clock.now = percent / 10
        lines.feed(f"{percent}%\r".encode())
    lines.feed(b"\ndone\n")
    lines.end()
    assert said[0] == "0%"
    assert said[-2:] == ["100%", "done"]
    assert len(said) <= 5


def test_the_prefix_stands_before_each_line_and_each_part_of_a_long_one() -> None:
    said = lines_of(b"x" * (2 * MAX_LINE + 5), b"\n[INFO] y\n", prefix="[STDERR]")
    assert [line[:10] for line in said] == ["[STDERR] x"] * 3 + ["[STDERR] ["]


def test_a_character_in_two_pieces_is_one() -> None:
    data = "é".encode()
    assert codecs.decode(data, "utf-8") in lines_of(data[:1], data[1:])
