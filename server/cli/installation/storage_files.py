"""``cumulus storage ls``, ``put``, ``get``, ``rm``, ``quota``: the shared files, from any computer."""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, cast

import click

from cumulus_client.calling import Stream
from cumulus_client.errors import ApiError
from cumulus_client.jobs import ResultFile
from cumulus_client.storage import Storage, StoredFile
from programs.border import tell
from programs.errors import Expected
from programs.exits import ExitCode
from server.cli.results import copied_file
from server.cli.sending.uploading import naming, require_files
from server.cli.shared.arguments import TEXT, as_json_option
from server.cli.shared.backend import opened
from server.cli.shared.copying import FileCopier
from server.cli.shared.output import PATIENCE_S, printable, progress_on_stderr, show_json, show_table
from server.errors import InvalidInput, NotFound
from server.progress import MB
from server.services.times import local_time

GB = 1e9


@click.command()
@click.argument("path", type=TEXT, default="")
@as_json_option
def ls(path: str, as_json: bool) -> None:
    """List the shared files, or what is in the folder PATH of them, with their sizes and who has sent them by HTTP.

    Example: cumulus storage ls
    """
    files = _listed(opened().storage, path)
    if as_json:
        show_json([one.model_dump() for one in files])
    elif files:
        show_table(("name", "size", "changed", "sent by"), map(_cells, files))
    else:
        click.echo("there is no shared file yet" if not path else "the folder is empty")


@click.command()
@click.argument("files", type=click.Path(path_type=Path), nargs=-1, required=True)
def put(files: tuple[Path, ...]) -> None:
    """Send FILES of this computer to the shared data; prints where each is. A name that is taken there is never replaced.

    What a broken connection has left is continued, also by the next call. Exit code 1 if a file could not be sent.
    Example: cumulus storage put human.fasta
    """
    require_files(files)
    storage = opened().uploads
    sent = []
    for path in files:
        try:
            with naming(path), progress_on_stderr(PATIENCE_S).step(f"Sending {printable(path.name)}", "MB") as step:
                place = storage.send(path, advance=lambda done, total: step.advance(done / MB, total / MB)).place
        except (ApiError, Expected) as error:
            tell("cumulus", f"{printable(str(path))}: {error.message}")
            sent.append(False)
        else:
            click.echo(printable(place.removeprefix("data/")))
            sent.append(True)
    if not all(sent):
        sys.exit(ExitCode.FAILED)


@click.command()
@click.argument("path", type=TEXT)
@click.option("--to", "target", type=click.Path(file_okay=False, path_type=Path), default=Path(), help="Folder; default: here.")
def get(path: str, target: Path) -> None:
    """Copy the shared file PATH, or a folder with all in it, to here; prints where each file is.

    A file that is there already with another content is left alone. What a broken connection has left is continued, also by the
    next call. Exit code 1 if a file could not be copied. Example: cumulus storage get human.fasta --to databases
    """
    storage = opened().storage
    found = _found(storage, path)
    copier = StoredCopier(storage, target)
    copied = [copied_file(copier, file) for file in ([found] if found.kind == "file" else _below(storage, found))]
    if not all(copied):
        sys.exit(ExitCode.FAILED)


@click.command()
@click.argument("names", type=TEXT, metavar="NAME", nargs=-1, required=True)
def rm(names: tuple[str, ...]) -> None:
    """Remove shared files that you have sent, into the trash; an administrator may remove all.

    Not while a job that has not ended wants the file. Jobs that have run keep what they have read.
    Example: cumulus storage rm human.fasta
    """
    storage, done = opened(to_change=True).storage, []
    for name in names:
        try:
            click.echo(printable(storage.remove(name)))
            done.append(True)
        except (ApiError, Expected) as error:
            tell("cumulus", printable(error.message))
            done.append(False)
    if not all(done):
        sys.exit(ExitCode.FAILED)


@click.command()
@as_json_option
def quota(as_json: bool) -> None:
    """Say how much you store, and how much you and your groups may.

    Example: cumulus storage quota
    """
    found = opened().storage.quota()
    if as_json:
        show_json(found.model_dump())
        return
    limit = "no limit" if found.limit_bytes is None else f"{found.limit_bytes / GB:.2f} GB"
    click.echo(printable(f"{found.owner}: {found.used_bytes / GB:.2f} GB of {limit}"))
    for one in found.groups:
        click.echo(printable(f"group {one.group}: {one.used_bytes / GB:.2f} GB of {one.limit_bytes / GB:.2f} GB"))


class StoredCopier(FileCopier):
    """Copies shared files."""

    def __init__(self, storage: Storage, top: Path) -> None:
        super().__init__(top)
        self._storage = storage

    def _stream(self, file: ResultFile) -> AbstractContextManager[Stream]:
        return self._storage.file(cast("StoredFile", file))

    def _fetch_into(self, file: ResultFile, target: BinaryIO, heard: Callable[[int], None]) -> None:
        self._storage.fetch(cast("StoredFile", file), target, heard)


def _listed(storage: Storage, path: str) -> list[StoredFile]:
    """What is in a folder; a file alone where the path is one's. Raises Refused, NotFound."""
    if not path.strip("/"):
        return list(storage.files())
    found = _found(storage, path)
    return list(storage.files(found)) if found.kind == "folder" else [found]


def _found(storage: Storage, path: str) -> StoredFile:
    """What a path names. Raises Refused, NotFound, InvalidInput."""
    folder, _, name = path.strip("/").rpartition("/")
    if not name:
        raise InvalidInput("say which file: `cumulus storage ls` lists them", field="path")
    if found := storage.find(name, folder):
        return found
    raise NotFound(f"there is no shared file {printable(path)}; `cumulus storage ls` lists them", field="path")


def _below(storage: Storage, folder: StoredFile) -> Iterator[StoredFile]:
    """All files in a folder, however deep."""
    for one in storage.files(folder):
        if one.kind == "folder":
            yield from _below(storage, one)
        else:
            yield one


def _cells(one: StoredFile) -> tuple[str, ...]:
    name = f"{one.path}/" if one.kind == "folder" else one.path
    return name, f"{one.size / MB:,.2f} MB", local_time(one.modified), one.owner
