import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from server.catalog.rendering.quoting import UnsafeText, quote
from server.catalog.rendering.shell_grammar import read_shell
from server.errors import InvalidInput

NAMES = frozenset({"value", "value2", "key"})
NASTY = (
    "",
    " ",
    "-rf",
    "--",
    "a b",
    "it's",
    'say "x"',
    "$(id)",
    "`id`",
    "$HOME",
    "${HOME}",
    "\\",
    "\\\\'",
    "a\nb",
    "\n",
    "\r\t",
    "; exit 9",
    "&& false",
    "| cat",
    "> file",
    "#",
    "*",
    "~",
    "~root",
    "!!",
    "%value%",
    "%value2%",
    "%input_dir%",
    "%%value%%",
    "2",
    "fi",
    "{a,b}",
    "é∂🧬",
    "\u2028",
    "'\"'\"'",
    "$'\\n'",
    "x" * 10_000,
    "'" * 3_000,
)
# A text, and the arguments that it gives: V stands for the value.
CONTEXTS = {
    "%value%": ["V"],
    "'%value%'": ["V"],
    '"%value%"': ["V"],
    "--name=%value%": ["--name=V"],
    "--name='%value%'": ["--name=V"],
    "pre'%value%'post": ["preVpost"],
    "'pre%value%post'": ["preVpost"],
    '"pre %value% post"': ["pre V post"],
    '"$u%value%$u"': ["V"],
    "$u%value%": ["V"],
    '"a\\"%value%"': ['a"V'],
    '"a\\\\%value%"': ["a\\V"],
    "a\\\\%value%": ["a\\V"],
    "a\\ %value%": ["a V"],
    "'a\\%value%'": ["a\\V"],
    "%value%%value%": ["VV"],
    "'%value%%value%'": ["VV"],
    '"%value%,%value%"': ["V,V"],
    "'%value%'''": ["V"],
    "'%value%' '' \"\"": ["V", "", ""],
    "''%value%''": ["V"],
    "\"it's %value%\"": ["it's V"],
    "'say \"%value%\"'": ['say "V"'],
    '"$(printf %s "%value%"; printf .)"': ["V."],
    "\"$(printf %s '%value%'; printf .)\"": ["V."],
    '"$(printf %s "$(printf %s %value%; printf ,)"; printf .)"': ["V,."],
    '"$( (printf a); (printf %s %value%); printf "%s." "%value%")"': ["aVV."],
    "a#%value%": ["a#V"],
    "\"$(: # it's\nprintf %s %value%; printf .)\"": ["V."],
    "$((1+%nb_threads%)) %value%": ["4", "V"],
    "'%nb_threads%' \"%nb_threads%\" ${u:-%nb_threads%} %value%": ["3", "3", "3", "V"],
    "${u:-'x'} %value%": ["x", "V"],
    '"${u:-x}" %value%': ["x", "V"],
    "`printf a` %value%": ["a", "V"],
    "$# %value% \"$#%value%\"": ["0", "V", "0V"],
    "100% %value% %other%": ["100%", "V", "%other%"],
}  # fmt: skip


def arguments(text: str, folder: Path | str = "/") -> list[str] | None:
    """What a program gets as its arguments; None where the shell fails."""
    done = subprocess.run(
        ["sh", "-c", "/usr/bin/printf '%s\\0' " + text], capture_output=True, cwd=folder, env={"PATH": os.environ["PATH"]}
    )
    return done.stdout.decode("utf-8", "surrogateescape").split("\0")[:-1] if done.returncode == 0 and not done.stderr else None


def filled(text: str, value: str, value2: str = "") -> str:
    values = {
        "value": value,
        "value2": value2,
        "key": "",
        "nb_threads": "3",
        "input_dir": "",
        "output_dir": "",
        "config-file": "",
    }
    return read_shell(text, NAMES).fill(values)


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=200) | st.sampled_from(NASTY)


@pytest.mark.parametrize("text", CONTEXTS)
def test_nasty_values_arrive_as_they_are(text: str) -> None:
    for value in NASTY:
        assert arguments(filled(text, value)) == [part.replace("V", value) for part in CONTEXTS[text]], value


@settings(max_examples=300, deadline=None)
@given(text=st.sampled_from(sorted(CONTEXTS)), value=texts)
def test_any_value_arrives_as_it_is(text: str, value: str) -> None:
    assert arguments(filled(text, value)) == [part.replace("V", value) for part in CONTEXTS[text]]


TOKENS = (
    "'",
    '"',
    "\\",
    " ",
    "a",
    "b=",
    "${x}",
    "${x:-d}",
    "$(",
    ")",
    "`",
    "$((",
    "1+2",
    "))",
    "#",
    "\n",
    "$#",
    "%value%",
    "%value%",
    "%value2%",
)


@settings(
    max_examples=600, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.function_scoped_fixture]
)
@given(text=st.lists(st.sampled_from(TOKENS), min_size=1, max_size=12).map("".join), value=texts)
@example(text='"\\""%value%""', value="a' b")
@example(text="'%value%''%value%'", value="$x")
def test_a_text_is_refused_or_safe_for_every_value(tmp_path: Path, text: str, value: str) -> None:
    assume("%value%" in text)
    try:
        with_word = filled(text, "FIRST", "second")
    except UnsafeText:
        return
    as_is = arguments(text.replace("%value%", "FIRST").replace("%value2%", "second"), tmp_path)
    expected = arguments(with_word, tmp_path)
    if expected is not None:
        assert as_is in (expected, None), "the quotes around a place were changed"
        assert arguments(filled(text, value, "second"), tmp_path) == [part.replace("FIRST", value) for part in expected]


@pytest.mark.parametrize("shell", [["sh"], ["bash", "--norc"]])
def test_a_real_program_finds_the_bytes_in_its_arguments(shell: list[str]) -> None:
    program = f"{quote(sys.executable)} -c 'import os, sys; [os.write(1, os.fsencode(a) + bytes(1)) for a in sys.argv[1:]]' "
    for value in NASTY:
        text = program + filled("x%value% '%value%' \"%value%\"", value)
        done = subprocess.run([*shell, "-c", text], capture_output=True, check=True)
        assert done.stdout.split(b"\0")[:-1] == [b"x" + value.encode(), value.encode(), value.encode()]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("`run %value%`", "within backticks"),
        ('"`run %value%`"', "within backticks"),
        ("\\%value%", "behind a backslash"),
        ('"\\%value%"', "behind a backslash"),
        ("$%value%", "behind a `$`"),
        ('"$%value%"', "behind a `$`"),
        ("$'%value%'", "different shells"),
        ("$\"%value%\"", "different shells"),
        ("$'a'", "different shells"),
        ("${x:-%value%}", "within `${…}`"),
        ("${x:-'%value%'}", "within `${…}`"),
        ("\"${x:-'a'}\"", "different shells"),
        ("$((1 + %value%))", "within arithmetic"),
        ("$((1 + '2'))", "substitutions within"),
        ("run # %value%\n", "within a comment"),
        ("run # rest", "swallow"),
        ("cat <<END\n%value%\nEND\n", "here-documents"),
        ("cat <<< %value%", "here-documents"),
        ("sh -c 'run %value%'", "read as shell once more"),
        ("bash -e -c \"run %value%\"", "read as shell once more"),
        ("/bin/bash -ec %value%", "read as shell once more"),
        ("bash -euo pipefail -c 'run %value% | sort'", "read as shell once more"),
        ("bash -o pipefail -c \"run %value%\"", "read as shell once more"),
        ("bash --rcfile x -c %value%", "read as shell once more"),
        ("sh -ceu 'run %value%'", "read as shell once more"),
        ("sh -c -e -- 'run %value%'", "read as shell once more"),
        ("sh \\\n -c 'run %value%'", "read as shell once more"),
        ("'sh' \"-c\" 'run %value%'", "read as shell once more"),
        ("$SHELL -c 'run %value%'", "read as shell once more"),
        ("A=b timeout 5 csh -c 'run %value%'", "read as shell once more"),
        ("xargs -0 sh -c 'run %value%'", "read as shell once more"),
        ("sh -c \"$(echo 'run %value%')\"", "read as shell once more"),
        ("su ada -c 'run %value%'", "read as shell once more"),
        ("flock lock -c 'run %value%'", "read as shell once more"),
        ("watch 'run %value%'", "read as shell once more"),
        ("eval run %value%", "read as shell once more"),
        ("a; eval %value%", "read as shell once more"),
        ("$(eval %value%)", "read as shell once more"),
        ("ssh host run %value%", "read as shell once more"),
        ("trap %value% EXIT", "read as shell once more"),
        ("$(case %value% in a) b;; esac)", "`case`"),
        ("'open", "single quote is not closed"),
        ("'open %value%", "single quote is not closed"),
        ('"open', "double quote is not closed"),
        ("`open", "backtick is not closed"),
        ("$(open", "has no end"),
        ("${open", "has no end"),
        ("$((open", "has no end"),
        ("end\\", "backslash"),
        ("a\0b", "NUL"),
        ("%key2% %config-file% %key%%value2%x'", "not closed"),
    ],
)  # fmt: skip
def test_texts_in_which_a_value_is_not_safe_are_refused(text: str, reason: str) -> None:
    with pytest.raises(UnsafeText, match=re.escape(reason)):
        read_shell(text, NAMES)


@pytest.mark.parametrize(
    "text",
    [
        *("sh -c 'run \"$1\"' sh %value%", "run sh -c; next %value%", "evaluate %value%", "case %value% in a) b;; esac"),
        *("bash -euo pipefail -c 'run \"$1\"' x %value%", "sh run.sh -c %value%", "bash -eu run.sh -c '%value%'"),
        *(
            "echo sh -c | run %value%",
            "run -c %value%",
            "A=%value% run",
            "$(sh -c 'run'; next %value%)",
            '"$(run "a b")" %value%',
        ),
    ],
)
def test_what_only_looks_dangerous_is_accepted(text: str) -> None:
    assert read_shell(text, NAMES).names == {"value"}


def test_a_name_that_means_nothing_there_is_refused() -> None:
    with pytest.raises(UnsafeText, match="%value% means nothing here"):
        read_shell("run %value%")
    assert read_shell("run %input_dir% %unknown%").names == {"input_dir"}


def test_a_nul_byte_is_refused() -> None:
    with pytest.raises(InvalidInput, match="NUL"):
        filled("%value%", "a\0b")


def test_plain_texts_stay_readable() -> None:
    assert filled("--in '%value%' --out \"%value%/x\" --n %nb_threads%", "a b") == "--in 'a b' --out 'a b'\"/x\" --n 3"
