"""The commands `country show` and `country update`.

A new country database is written beside the one in place, checked, and only
then renamed over it: policy processes see the old one or the new one.
"""

from __future__ import annotations

import argparse
import contextlib
import filecmp
import os
import stat
import sys
from typing import TYPE_CHECKING, Any

from pcc.admin import DONE, NOT_DONE, USAGE
from pcc.admin.commands import add_command
from pcc.admin.output import Moment, rfc3339
from pcc.errors import CountryError, PccError
from pcc.escaping import escaped
from pcc.history import DAY
from pcc.host.files import NewFile, sync_folder
from pcc.host.serviceuser import give_to_service_user
from pcc.places import bundled
from pcc.places.country import CountryDatabase, describe
from pcc.wording import quantity

if TYPE_CHECKING:
    from pcc.admin.commands import Commands
    from pcc.admin.context import Context
    from pcc.places.country import DatabaseInfo
    from pcc.places.download import Progress


WELL_KNOWN = {
    "128.32.0.1": "US",  # University of California, Berkeley
    "128.100.100.1": "CA",  # University of Toronto
    "129.78.5.8": "AU",  # University of Sydney
    "129.132.19.216": "CH",  # ETH Zurich
    "130.79.200.1": "FR",  # University of Strasbourg
    "130.88.1.1": "GB",  # University of Manchester
    "130.225.0.1": "DK",  # Danish research network
    "130.237.28.40": "SE",  # Royal Institute of Technology, Stockholm
    "133.11.0.1": "JP",  # University of Tokyo
    "134.130.4.17": "DE",  # RWTH Aachen
    "143.248.1.1": "KR",  # KAIST
    "147.83.2.135": "ES",  # Polytechnic University of Catalonia
    "193.0.6.139": "NL",  # RIPE NCC
    "193.206.158.22": "IT",  # Italian research network
    "200.160.2.3": "BR",  # NIC.br
}
"""Addresses of old institutions that don't move, and their countries."""

ENOUGH = 10
"""So many of WELL_KNOWN must be where we know them to be."""

UPDATE_DETAILS = """\
From a file, an http or https URL, gzipped or not, or without an argument the DB-IP Lite
database that came with pcc.  It replaces the one in place only if it opens, is of a type that
pcc reads, is not older, and knows a few well-known addresses (or, like a database of your
own network, as many as the one in place); running processes follow by themselves.  Owner and
mode stay.

geoipupdate keeps MaxMind's files fresh by itself: where country.database names its file, this
command isn't needed.  For DB-IP, monthly:
  pcc_admin.py country update \\
    https://download.db-ip.com/free/dbip-country-lite-$(date +%Y-%m).mmdb.gz

Exit status 1 if the new one can't be had or fails a check: the old one stays."""


def add_commands(commands: Commands) -> None:
    """Describe the commands to argparse."""
    parser = add_command(commands, "country", show, "show or update the country database")
    actions = parser.add_subparsers(metavar="show|update", title="actions", required=True)
    add_command(actions, "show", show, "show type, build date and age of the country database")
    updating = add_command(
        actions, "update", update, "install a country database after checking it", UPDATE_DETAILS
    )
    updating.add_argument("source", metavar="URL or FILE", nargs="?", default="")
    updating.add_argument(
        "--force",
        action="store_true",
        help="install it even if it is older, or does not know well-known addresses",
    )


def show(context: Context, options: argparse.Namespace) -> int:
    """Show what the country database says of itself."""
    info = describe(context.config.country_database)
    context.output.data(_data(info, context.now))
    context.output.table(
        ["PATH", "TYPE", "BUILT", "AGE"],
        [[info.path, info.type, Moment(info.build_epoch), f"{_days(info, context.now)} d"]],
    )
    return DONE


def _data(info: DatabaseInfo, now: float) -> dict[str, Any]:
    return {
        "path": info.path,
        "type": info.type,
        "built": rfc3339(info.build_epoch),
        "age": max(0, int(now - info.build_epoch)),
    }


def _days(info: DatabaseInfo, now: float) -> int:
    return max(0, int(now - info.build_epoch)) // DAY


def update(context: Context, options: argparse.Namespace) -> int:
    """Install a country database after checking it."""
    from pcc.places import (
        download as fetching,  # with HTTP and TLS half of what all commands would cost to start
    )

    source, target = options.source, context.config.country_database
    try:
        if fetching.is_url(source):
            fetching.check_url(source)
    except CountryError as error:
        context.complain(str(error))
        return USAGE
    if source.lower().startswith("http://"):
        context.complain("http lets others change the database on its way: prefer https")
    try:
        installed = _install(context, source, target, force=options.force)
    except CountryError as error:
        context.complain(f"{error}; {target} stays as it is")
        return NOT_DONE
    info = describe(target)
    context.output.data({"installed": installed, **_data(info, context.now)})
    what = "installed" if installed else "there already"
    context.output.say(
        f"{target}: {what}: {escaped(info.type)}, {quantity(_days(info, context.now), 'day')} old"
    )
    return DONE


def _install(context: Context, source: str, target: str, *, force: bool) -> bool:
    """Write, check and rename; return False if the same is there already.

    Raises CountryError for what is wrong with the source, PccError where the
    target can't be written.
    """
    try:
        with NewFile(target) as new:
            _write(context, source, new.file)
            _check(new.name, source, target, context.now, force=force)
            if os.path.exists(target) and filecmp.cmp(new.name, target, shallow=False):
                return False
            bundled.give_time(new.name, new.file.fileno())
            _give_rights_of(target, new.file.fileno())
            new.take_place()
        sync_folder(target)
    except OSError as error:
        raise PccError(f"{target}: can't be written: {error.strerror}") from None
    return True


def _write(context: Context, source: str, file: Any) -> None:
    from pcc.places import download

    with contextlib.ExitStack() as stack:
        for chunk in (
            download.read(source, _progress(context, stack)) if source else bundled.chunks()
        ):
            file.write(chunk)
    file.flush()


def _progress(context: Context, stack: contextlib.ExitStack) -> Progress:
    """Return what draws a progress bar, on a terminal, until `stack` ends."""

    def draw(done: int, total: int) -> None:
        if bar:
            bar.update(task, completed=done, total=total or None)

    if context.output.json or not sys.stderr.isatty():
        bar = None
        return draw
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("country database"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    bar = stack.enter_context(Progress(*columns, console=Console(stderr=True), transient=True))
    task = bar.add_task("", total=None)
    return draw


def _check(new: str, source: str, target: str, now: float, *, force: bool) -> None:
    """Raise CountryError unless the new database may replace the one at `target`."""
    name = escaped(source.partition("?")[0]) or "the bundled database"
    if os.path.islink(target):
        raise CountryError(f"{target}: is a symbolic link: update what it points to")
    try:
        info = describe(new)
        known = _well_known(new)
    except CountryError as error:
        hint = ": unpack the .mmdb file from this tar archive" if _is_tar(new) else ""
        raise CountryError(f"{str(error).replace(new, name)}{hint}") from None
    if info.build_epoch > now + 7 * DAY:  # or no later one would ever replace it
        raise CountryError(f"{name}: says that it was built {rfc3339(info.build_epoch)}")
    if force:
        return
    if known < ENOUGH and not _is_like(target, info, known):
        raise CountryError(
            f"{name}: has only {known} of {len(WELL_KNOWN)} well-known addresses where they are:"
            " --force installs it all the same, if it is of a network of your own or a test, say"
        )
    in_place = _build_epoch(target)
    if info.build_epoch < in_place <= now:
        raise CountryError(
            f"{name}: was built {rfc3339(info.build_epoch)}, before the one in place"
            " (--force installs it all the same)"
        )


def _is_like(target: str, new: DatabaseInfo, known: int) -> bool:
    """Whether a database knows as much as the one in place, which is such a special one, too."""
    try:
        return known >= _well_known(target) and new.node_count * 2 > describe(target).node_count
    except CountryError:
        return False


def _build_epoch(path: str) -> int:
    try:
        return describe(path).build_epoch
    except CountryError:
        return 0  # anything is better than a missing or a broken one


def _well_known(path: str) -> int:
    """Return how many of the well-known addresses are where they are."""
    database = CountryDatabase(path)
    try:
        return sum(database.country(address) == code for address, code in WELL_KNOWN.items())
    finally:
        database.close()


def _is_tar(path: str) -> bool:
    with open(path, "rb") as file:
        return file.read(512)[257:262] == b"ustar"


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
