"""The help of each command has an example, and the example is a command that there is."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from server.cli.main import main

EXAMPLE = re.compile(r"Examples?: (?P<commands>.+)\Z", re.DOTALL)


def every(group: click.Group, *before: str) -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        yield " ".join((*before, name)), command
        if isinstance(command, click.Group):
            yield from every(command, *before, name)


def examples(command: click.Command) -> list[str]:
    """The command lines at the end of a help."""
    found = EXAMPLE.search(command.help or "")
    return [" ".join(one.split()) for one in re.split(r"; (?=cumulus )", found["commands"])] if found else []


def parse(words: list[str]) -> click.Context:
    """The context of the innermost command, whose arguments were read and which was not run."""
    ctx = main.make_context("cumulus", list(words))
    while isinstance(ctx.command, click.Group) and (rest := [*ctx._protected_args, *ctx.args]):
        name, command, arguments = ctx.command.resolve_command(ctx, rest)
        assert command is not None
        ctx = command.make_context(name, arguments, parent=ctx)
    return ctx


def words_of(example: str) -> list[str]:
    """What the program gets of a command line, without what the shell does."""
    line = re.sub(r'eval "\$\((.*)\)"', r"\1", example)
    words = shlex.split(re.sub(r"\$\([^)]*\)", "x", line))
    ends = [number for number, word in enumerate(words) if word in ("<", ">", "|")]
    return words[: min(ends, default=len(words))]


@pytest.mark.parametrize(("name", "command"), list(every(main)), ids=lambda one: one if isinstance(one, str) else "")
def test_a_help_has_an_example_that_is_a_command(
    name: str, command: click.Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for file in ("form.json", "PXD000001.sdrf.tsv"):  # what examples name is opened when they are parsed
        Path(file).touch()
    Path("apps").mkdir()
    found = examples(command)
    if isinstance(command, click.Group) and not command.invoke_without_command and not found:
        return  # its commands have some
    assert found, f"the help of `cumulus {name}` has no example"
    for example in found:
        program, *words = words_of(example)
        assert program == "cumulus"
        path = parse(words).command_path.removeprefix("cumulus ")
        assert path == name or path.startswith(f"{name} "), example
