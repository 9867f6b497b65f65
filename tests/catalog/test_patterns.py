import time

import pytest

from server.catalog.patterns import Pattern, UnboundedPattern
from server.errors import InvalidInput


@pytest.mark.parametrize(
    ("source", "text", "found"),
    [
        ("thermo", "thermo-raw", True),
        ("^thermo$", "thermo-raw", False),
        ("^(bruker|thermo)", "thermo-raw", True),
        (r"^\d+$", "12", True),
        (r"[*+?(){}]x", "(x", True),
        (r"a{2,3}b?", "caab", True),
        ("", "anything", True),
        (r"\(a\)\+", "(a)+", True),
    ],
)
def test_a_pattern_is_searched_anywhere_in_a_text(source: str, text: str, found: bool) -> None:
    assert Pattern(source).found_in(text) is found


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("(", "not a regular expression"),
        ("[a", "not a regular expression"),
        ("*", "not a regular expression"),
        ("(a+)+", "repeats a group"),
        ("(a|b)*", "repeats a group"),
        ("(a){20}", "repeats a group"),
        (r"(a)\1", "refers back"),
        ("(?P<x>a)(?P=x)", "refers back"),
        ("a*b*c*d*", "repeats more than"),
        ("a?" * 11, "repeats more than"),
        ("a" * 201, "may have 200"),
    ],
)
def test_a_pattern_that_could_take_long_is_refused(source: str, reason: str) -> None:
    with pytest.raises(UnboundedPattern, match=reason):
        Pattern(source)


@pytest.mark.parametrize(("source", "length"), [("abc", 100_000), ("a+", 2_000), ("a*a*b", 250), ("a*a*a*b", 100)])
def test_the_longest_text_is_searched_in_no_time(source: str, length: int) -> None:
    begin = time.process_time()
    Pattern(source).found_in("a" * length)
    assert time.process_time() - begin < 1
    with pytest.raises(InvalidInput, match="longer than"):
        Pattern(source).found_in("a" * (length + 1))
