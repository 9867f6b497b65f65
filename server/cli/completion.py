"""``cumulus completion``: what a shell needs to complete commands and options."""

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_CUMULUS_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print what SHELL needs to complete commands and options of `cumulus`.

    Examples: cumulus completion bash > ~/.local/share/bash-completion/completions/cumulus; cumulus completion fish | source
    """
    root = ctx.find_root()
    found = get_completion_class(shell)
    if found is None:  # click knows all of SHELLS
        raise click.UsageError(f"there is no completion for {shell}")
    click.echo(found(root.command, {}, "cumulus", VARIABLE).source())
