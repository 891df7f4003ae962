"""The user that runs the policy process: the owner of the state folder, if spawn(8) would do so.

spawn(8) refuses root and the mail owner.  Where one of them owns the state
folder, the entry in master.cf says whose it should be.
"""

from __future__ import annotations

import grp
import pwd
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from pcc.doctor import Fault, fail, named_check
from pcc.doctor.rights import User, user_of
from pcc.host.serviceuser import service_user
from pcc.invocation import shell_word

USUAL = "pcc"
"""The user that `make install` makes."""


class ServiceUser(NamedTuple):
    """The service user; `user` is None where there is none yet.

    `owner`: the user that owns the state folder, None where that is missing;
    `fits`: whether that is the service user.
    """

    user: User | None
    owner: User | None
    fits: bool

    @property
    def name(self) -> str:
        """The name of the service user, or the name that it should have."""
        return self.user.name if self.user else USUAL


def find_service_user(state_path: str, named: str, mail_owner: str) -> ServiceUser:
    """Return the service user.  `named`: what follows user= in master.cf."""
    owner = None
    with suppress(OSError):
        owner = user_of(service_user(state_path)[0])
    name, _, group = named.partition(":")
    if owner is not None and _would_run(owner, mail_owner):
        user = owner
        with suppress(KeyError):  # spawn(8) complains of a group that is not there
            if group and name == owner.name:
                user = owner._replace(gid=grp.getgrnam(group).gr_gid)
        return ServiceUser(user, owner, True)
    for candidate in (_account(name), _account(USUAL)):
        if candidate is not None and _would_run(candidate, mail_owner):
            return ServiceUser(candidate, owner, False)
    return ServiceUser(None, owner, False)


def _would_run(user: User, mail_owner: str) -> bool:
    return user.uid != 0 and user.name not in (mail_owner, str(user.uid))


def _account(name: str) -> User | None:
    try:
        return user_of(pwd.getpwnam(name).pw_uid)
    except KeyError:
        return None


@named_check("service user")
def check_service_user(found: ServiceUser, folder: str) -> Iterator[Fault]:
    """Check who owns the state folder."""
    if found.fits or found.owner is None:
        return
    steps = [f"chown -hR {found.name}: {shell_word(folder)}"]
    if found.user is None:
        steps.insert(0, f"useradd --system --home-dir / --shell /usr/sbin/nologin {USUAL}")
    yield fail(
        f"`{' && '.join(steps)}`: the state folder belongs to {found.owner.name}, as whom spawn(8)"
        " does not run pcc"
    )
