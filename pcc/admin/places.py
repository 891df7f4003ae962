"""The commands `places show` and `places update`, and `country` as another name for the first file.

A new file is written beside the one in place, checked, and only then renamed
over it: policy processes see the old one or the new one.
"""

from __future__ import annotations

import argparse
import contextlib
import filecmp
import os
import stat
import sys
from typing import TYPE_CHECKING, Any

from pcc.address import packed_address
from pcc.admin import DONE, NOT_DONE, USAGE
from pcc.admin.commands import add_command
from pcc.admin.output import Moment, rfc3339
from pcc.errors import CountryError, PccError
from pcc.escaping import escaped
from pcc.history import DAY
from pcc.host.files import NewFile, sync_folder
from pcc.host.serviceuser import give_to_service_user
from pcc.places import bundled
from pcc.places.bundled import FILES
from pcc.places.database import WELL_KNOWN, Database
from pcc.wording import quantity

if TYPE_CHECKING:
    from pcc.admin.commands import Commands
    from pcc.admin.context import Context
    from pcc.places.bundled import File
    from pcc.places.database import DatabaseInfo, Kind
    from pcc.places.download import Progress

ENOUGH = 10
"""Addresses of WELL_KNOWN that must be where we know them to be."""

UPDATE_DETAILS = """\
It reads a file or an http or https URL, gzipped or not; without an argument it takes the file
that came with pcc.  A database must open, be of a type that pcc reads, and not be older than the
one in place.  It must know a few well-known addresses, or, like a database of your own network,
as many as the one in place.  A hosting list must have a number on each line, and at least half
as many as the one in place.  Running processes follow by themselves.  Owner and mode stay.

geoipupdate keeps MaxMind's files fresh by itself: where country.database and country.networks
name its files, this command isn't needed for them.  For DB-IP, monthly:
  pcc_admin.py places update country \\
    https://download.db-ip.com/free/dbip-country-lite-$(date +%Y-%m).mmdb.gz
  pcc_admin.py places update networks \\
    https://download.db-ip.com/free/dbip-asn-lite-$(date +%Y-%m).mmdb.gz

Exit status 1 if the new one can't be had or fails a check: the old one stays."""


def add_commands(commands: Commands) -> None:
    """Describe the commands to argparse."""
    summary = "show or update the files that say where an address is"
    actions = _add_actions(commands, "places", summary)
    add_command(actions, "show", show_all, "show type, date and age of each file")
    updating = add_command(
        actions, "update", update, "install a file after checking it", UPDATE_DETAILS
    )
    updating.add_argument(
        "file",
        choices=tuple(FILES),
        metavar="country|networks|hosting",
        help="the country database, the network database or the list of hosting networks",
    )
    _add_source(updating)
    actions = _add_actions(commands, "country", "show or update the country database")
    add_command(actions, "show", show, "show type, build date and age of the country database")
    details = "The same as `places update country`."
    updating = add_command(
        actions, "update", update, "install a country database after checking it", details
    )
    updating.set_defaults(file="country")
    _add_source(updating)


def _add_actions(commands: Commands, name: str, summary: str) -> Commands:
    parser = add_command(commands, name, show_all, summary)
    return parser.add_subparsers(metavar="show|update", title="actions", required=True)


def _add_source(updating: argparse.ArgumentParser) -> None:
    updating.add_argument("source", metavar="URL or FILE", nargs="?", default="")
    updating.add_argument(
        "--force",
        action="store_true",
        help="install it even if it is older, or does not know what it should",
    )


def show(context: Context, options: argparse.Namespace) -> int:
    """Show what the country database says of itself."""
    info = bundled.COUNTRIES.describe(context.config.country_database)
    context.output.data(_data(info, context.now))
    context.output.table(["PATH", "TYPE", "BUILT", "AGE"], [_row(info, context.now)])
    return DONE


def show_all(context: Context, options: argparse.Namespace) -> int:
    """Show what each file says of itself; one that can't be used is complained of."""
    data, rows, status = [], [], DONE
    for name, file in FILES.items():
        path = file.path(context.config)
        if not path:
            continue
        try:
            info = file.describe(path)
        except CountryError as error:
            context.complain(str(error))
            status = NOT_DONE
            nothing = dict.fromkeys(("type", "built", "age"))
            data.append({"file": name, "path": path, **nothing, "problem": str(error)})
        else:
            data.append({"file": name, **_data(info, context.now), "problem": None})
            rows.append([name, *_row(info, context.now)])
    context.output.data(data)
    context.output.table(["FILE", "PATH", "TYPE", "BUILT", "AGE"], rows)
    return status


def _data(info: DatabaseInfo, now: float) -> dict[str, Any]:
    return {
        "path": info.path,
        "type": info.type,
        "built": rfc3339(info.build_epoch),
        "age": max(0, int(now - info.build_epoch)),
    }


def _row(info: DatabaseInfo, now: float) -> list[Any]:
    return [info.path, info.type, Moment(info.build_epoch), f"{_days(info, now)} d"]


def _days(info: DatabaseInfo, now: float) -> int:
    return max(0, int(now - info.build_epoch)) // DAY


def update(context: Context, options: argparse.Namespace) -> int:
    """Install a file after checking it."""
    from pcc.places import (
        download as fetching,  # with HTTP and TLS half of what all commands would cost to start
    )

    file = FILES[options.file]
    source, target = options.source, file.path(context.config)
    if not target:
        context.complain(f'{file.key} must name the file that is to be updated, got ""')
        return USAGE
    try:
        if fetching.is_url(source):
            fetching.check_url(source)
    except CountryError as error:
        context.complain(str(error))
        return USAGE
    if source.lower().startswith("http://"):
        context.complain("http lets others change the file on its way: prefer https")
    try:
        installed = _install(context, file, source, target, force=options.force)
    except CountryError as error:
        context.complain(f"{error}; {target} stays as it is")
        return NOT_DONE
    info = file.describe(target)
    context.output.data({"installed": installed, **_data(info, context.now)})
    what = "installed" if installed else "there already"
    context.output.say(
        f"{target}: {what}: {escaped(info.type)}, {quantity(_days(info, context.now), 'day')} old"
    )
    return DONE


def _install(context: Context, file: File, source: str, target: str, *, force: bool) -> bool:
    """Write, check and rename; return False if the same is there already.

    Raises CountryError for what is wrong with the source, PccError where the
    target can't be written.
    """
    from pcc.places import download

    try:
        with NewFile(target) as new, contextlib.ExitStack() as stack:
            if source:
                chunks = download.read(source, _progress(context, file.noun, stack))
            else:
                chunks = bundled.chunks(file)
            for chunk in chunks:
                new.file.write(chunk)
            new.file.flush()
            _check(file, new.name, source, target, context.now, force=force)
            if os.path.exists(target) and filecmp.cmp(new.name, target, shallow=False):
                return False
            bundled.give_time(new.name, new.file.fileno(), file)
            _give_rights_of(target, new.file.fileno())
            new.take_place()
        sync_folder(target)
    except OSError as error:
        raise PccError(f"{target}: can't be written: {error.strerror}") from None
    return True


def _progress(context: Context, noun: str, stack: contextlib.ExitStack) -> Progress:
    """Return what draws a progress bar, on a terminal, until `stack` ends."""

    def draw(done: int, total: int) -> None:
        if bar:
            bar.update(task, completed=done, total=total or None)

    if context.output.json or not sys.stderr.isatty():
        bar = None
        return draw
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn(noun), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    bar = stack.enter_context(Progress(*columns, console=Console(stderr=True), transient=True))
    task = bar.add_task("", total=None)
    return draw


def _check(file: File, new: str, source: str, target: str, now: float, *, force: bool) -> None:
    """Raise CountryError unless the new file may replace the one at `target`."""
    name = escaped(source.partition("?")[0]) or f"the bundled {file.noun}"
    if os.path.islink(target):
        raise CountryError(f"{target}: is a symbolic link: update what it points to")
    try:
        info = file.describe(new)
        known = _well_known(new, file.kind) if file.kind else ENOUGH
    except CountryError as error:
        with open(new, "rb") as content:
            is_tar = content.read(512)[257:262] == b"ustar"
        hint = ": unpack the .mmdb file from this tar archive" if is_tar else ""
        raise CountryError(f"{str(error).replace(new, name)}{hint}") from None
    if info.build_epoch > now + 7 * DAY:  # or no later one would ever replace it
        raise CountryError(f"{name}: says that it was built {rfc3339(info.build_epoch)}")
    if force:
        return
    try:
        in_place = file.describe(target)
    except CountryError:  # anything is better than a missing or a broken one
        in_place = None
    # A special database may replace one that is as special, and less than twice as large.
    if known < ENOUGH and not (
        in_place
        and file.kind
        and known >= _well_known(in_place.path, file.kind)
        and info.node_count * 2 > in_place.node_count
    ):
        raise CountryError(
            f"{name}: has only {known} of {len(WELL_KNOWN)} well-known addresses where they are:"
            " --force installs it all the same, if it is of a network of your own or a test, say"
        )
    if in_place and not file.kind and info.node_count * 2 < in_place.node_count:
        raise CountryError(
            f"{name}: has only {quantity(info.node_count, 'network')}, and the one in place"
            f" {in_place.node_count} (--force installs it all the same)"
        )
    if in_place and info.build_epoch < in_place.build_epoch <= now:
        raise CountryError(
            f"{name}: was built {rfc3339(info.build_epoch)}, before the one in place"
            " (--force installs it all the same)"
        )


def _well_known(path: str, kind: Kind) -> int:
    """Return how many of the well-known addresses are where they are."""
    database = Database(path, kind)
    count = 0
    for text, known in WELL_KNOWN.items():
        answer = database.find(packed_address(text) or b"")[0]
        count += (answer[0] if isinstance(answer, tuple) else answer) in known
    database.close()
    return count


def _give_rights_of(target: str, descriptor: int) -> None:
    """Give an open file the mode of the one in place, and as root its owner.

    Where none is in place: mode 0640, and the service user.
    """
    try:
        model = os.lstat(target)
    except FileNotFoundError:
        os.fchmod(descriptor, bundled.MODE)
        give_to_service_user(descriptor, target)
        return
    os.fchmod(descriptor, stat.S_IMODE(model.st_mode) & 0o644)
    if os.geteuid() == 0:
        os.fchown(descriptor, model.st_uid, model.st_gid)
