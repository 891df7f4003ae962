"""The prepared form of pcc.toml: used when it can be trusted, and never otherwise.

Two attackers are played: another user of the machine, and the service user, who may write to the
state folder only.  Neither may get a configuration of theirs used.
"""

from __future__ import annotations

import marshal
import os
import pwd
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from deployment import CHECKOUT, public_folder, service_user

import pcc
from pcc.config import options, prepared
from pcc.config.prepared import load
from pcc.errors import ConfigError

TOML = '[policy]\nmax_countries = 4\naction = "HOLD"\n'
OTHER = '[policy]\nmax_countries = 5\naction = "HOLD"\n'  # of the same length
HUGE_STRING = marshal.dumps("x")[:1] + (0x7FFFFFFF).to_bytes(4, "little")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="not root")


@pytest.fixture
def path() -> Iterator[str]:
    """A pcc.toml with its prepared form, in a folder that everybody may read."""
    folder = public_folder("prepared")
    config = folder / "pcc.toml"
    config.write_text(TOML)
    assert prepared.renew(str(config))[1] == ""
    yield str(config)
    shutil.rmtree(folder)


def form(path: str) -> str:
    return path + prepared.SUFFIX


def in_use(path: str) -> bool:
    """Whether the prepared form of the file is used."""
    return prepared.read(path) is not None


def max_countries(path: str) -> int:
    """Return what the configuration says that is in force."""
    return load(path).policy.limits[0].max_countries


def as_user(name: str, function: Callable[[], Any]) -> Any:
    """Return what `function` returns when a process of another user calls it."""
    user = pwd.getpwnam(name)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(user.pw_gid)
            os.setuid(user.pw_uid)
            os.write(writer, marshal.dumps(function()))
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        result = file.read()
    os.waitpid(child, 0)
    assert result, "the function raised an error"
    return marshal.loads(result)


def other_user() -> str:
    """Return an account that is neither root nor the service user."""
    return "nobody"


# Its values.


def test_form_has_the_values_of_the_file(path: str) -> None:
    assert prepared.read(path) == options.read_values(path)


def test_form_gives_every_kind_of_value_back_as_it_was(path: str) -> None:
    Path(path).write_text(
        '[policy]\ndomains = ["example.org"]\nexempt_clients = ["192.0.2.0/24", "::/0", ".x.org"]\n'
        'ignore_countries = ["ES"]\ncountry_groups = [["DE", "AT"]]\nreason = "gr\u00fcn"\n'
        'block_for = "1h"\n[[limit]]\nmax_addresses = 3\n[[override]]\naccounts = ["a@b.org"]\n'
        'limit = []\n[notify]\nsmtp = "[::1]:25"\ncommand = ["./tell", "-v"]\n[log]\nverbose=true\n'
    )
    values, problem = prepared.renew(path)
    assert problem == ""
    assert prepared.read(path) == values == options.read_values(path)


def test_shipped_file_can_be_prepared(path: str) -> None:
    shutil.copy(CHECKOUT / "pcc.toml", path)
    assert prepared.renew(path)[1] == ""
    assert prepared.read(path) == options.read_values(path)


@pytest.mark.subprocess
def test_process_that_uses_the_form_parses_nothing(path: str) -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(CHECKOUT)!r}); from pcc.config import prepared\n"
        f"print(prepared.load({path!r}).policy.limits[0].max_countries, *sorted(sys.modules))"
    )
    argv = [sys.executable, "-I", "-S", "-c", program]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30)
    number, *modules = done.stdout.split()
    assert number == "4"
    assert not {"tomli", "pcc.config.options", "pcc.config.checks", "os", "re"} & set(modules)


def test_file_with_a_fault_gets_no_form(path: str) -> None:
    Path(path).write_text("[policy]\nmax_countries = -1\n")
    with pytest.raises(ConfigError):
        prepared.renew(path)
    assert not in_use(path)


def test_missing_file_is_the_error_of_reading_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be read: No such file"):
        prepared.renew(str(tmp_path / "pcc.toml"))


# Changes of pcc.toml.


def rewrite(path: str) -> None:
    Path(path).write_text(OTHER)


def rewrite_and_put_the_time_back(path: str) -> None:
    before = os.stat(path)
    Path(path).write_text(OTHER)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = os.stat(path)
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def touch(path: str) -> None:
    os.utime(path)


def append(path: str) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.write("# more\n")


def replace(path: str) -> None:
    before = os.stat(path)
    Path(path + ".new").write_text(OTHER)
    os.utime(path + ".new", ns=(before.st_atime_ns, before.st_mtime_ns))
    os.replace(path + ".new", path)


def replace_by_a_link(path: str) -> None:
    Path(path + ".new").write_text(OTHER)
    os.unlink(path)
    os.symlink(path + ".new", path)


@pytest.mark.parametrize(
    "change", [rewrite, rewrite_and_put_the_time_back, touch, append, replace, replace_by_a_link]
)
def test_changed_file_is_parsed(path: str, change: Callable[[str], None]) -> None:
    time.sleep(0.02)
    change(path)
    assert not in_use(path)
    expected = 5 if "5" in Path(path).read_text().split("\n")[1] else 4
    assert max_countries(path) == expected
    assert prepared.renew(path)[1] == ""
    assert in_use(path)


def test_file_is_read_when_a_change_would_give_it_another_time(path: str) -> None:
    """The times of files stand still for up to 10 ms: until then two changes may have the same."""
    for text in (OTHER, TOML) * 3:
        Path(path).write_text(text)
        assert prepared.renew(path)[1] == ""
        assert os.stat(form(path)).st_ctime_ns - os.stat(path).st_ctime_ns > 10_000_000


def test_change_between_reading_and_writing_leaves_a_form_that_is_not_used(path: str) -> None:
    source = os.stat(path)
    values = options.read_values(path)
    time.sleep(0.02)
    rewrite(path)
    prepared.write(path, values, source)
    assert not in_use(path)
    assert max_countries(path) == 5


def test_change_of_the_mode_makes_the_form_again(path: str) -> None:
    time.sleep(0.02)
    os.chmod(path, 0o600)
    assert not in_use(path)


def test_link_to_the_file_is_followed(path: str) -> None:
    folder = public_folder("link")
    link = str(folder / "pcc.toml")
    os.symlink(path, link)
    assert prepared.renew(link)[1] == ""
    assert in_use(link)
    time.sleep(0.02)
    rewrite(path)
    assert not in_use(link)
    assert max_countries(link) == 5
    shutil.rmtree(folder)


# Changes of the form.


def truncate_by_one(path: str) -> None:
    os.truncate(form(path), os.stat(form(path)).st_size - 1)


def truncate_to_the_first_line(path: str) -> None:
    os.truncate(form(path), Path(form(path)).read_bytes().index(b"\n") + 1)


def empty(path: str) -> None:
    os.truncate(form(path), 0)


def zeros(path: str) -> None:
    content = Path(form(path)).read_bytes()
    Path(form(path)).write_bytes(bytes(len(content)))


def zeros_after_the_first_line(path: str) -> None:
    head, _, rest = Path(form(path)).read_bytes().partition(b"\n")
    Path(form(path)).write_bytes(head + b"\n" + bytes(len(rest)))


def garbage(path: str) -> None:
    Path(form(path)).write_bytes(os.urandom(4096))


def garbage_after_the_first_line(path: str) -> None:
    head, _, _ = Path(form(path)).read_bytes().partition(b"\n")
    Path(form(path)).write_bytes(head + b"\n\xff\xfe\xfd")


def a_bomb_of_depth(path: str) -> None:
    head, _, _ = Path(form(path)).read_bytes().partition(b"\n")
    Path(form(path)).write_bytes(head + b"\n" + b"[\x01\0\0\0" * 100_000)


def a_bomb_of_length(path: str) -> None:
    head, _, _ = Path(form(path)).read_bytes().partition(b"\n")
    Path(form(path)).write_bytes(head + b"\n" + HUGE_STRING)


def a_huge_file(path: str) -> None:
    os.truncate(form(path), 1 << 40)


def a_link(path: str) -> None:
    os.rename(form(path), form(path) + ".real")
    os.symlink(form(path) + ".real", form(path))


def a_folder(path: str) -> None:
    os.unlink(form(path))
    os.mkdir(form(path))


def a_pipe(path: str) -> None:
    os.unlink(form(path))
    os.mkfifo(form(path))


def group_writable(path: str) -> None:
    os.chmod(form(path), 0o664)


def world_writable(path: str) -> None:
    os.chmod(form(path), 0o646)


def gone(path: str) -> None:
    os.unlink(form(path))


def that_of_another_version(path: str) -> None:
    content = Path(form(path)).read_bytes()
    assert content.startswith(f"pcc {pcc.VERSION}, ".encode())
    Path(form(path)).write_bytes(content.replace(pcc.VERSION.encode(), b"0.9.9", 1))


def that_of_another_python(path: str) -> None:
    content = Path(form(path)).read_bytes()
    Path(form(path)).write_bytes(content.replace(b"Python 3", b"Python 4", 1))


def that_of_another_file(path: str) -> None:
    other = os.path.join(os.path.dirname(path), "other.toml")
    Path(other).write_text(OTHER)
    assert prepared.renew(other)[1] == ""
    os.replace(form(other), form(path))


def that_of_the_same_file_at_another_path(path: str) -> None:
    """Its relative paths would count from another folder."""
    os.mkdir(os.path.dirname(path) + "/below")
    other = os.path.dirname(path) + "/below/pcc.toml"
    os.rename(path, other)
    os.rename(form(path), form(other))
    time.sleep(0.02)
    assert prepared.renew(other)[1] == ""
    os.symlink(other, path)
    os.rename(form(other), form(path))


FORMS = [
    truncate_by_one,
    truncate_to_the_first_line,
    empty,
    zeros,
    zeros_after_the_first_line,
    garbage,
    garbage_after_the_first_line,
    a_bomb_of_depth,
    a_bomb_of_length,
    a_huge_file,
    a_link,
    a_folder,
    a_pipe,
    group_writable,
    world_writable,
    gone,
    that_of_another_version,
    that_of_another_python,
    that_of_another_file,
    that_of_the_same_file_at_another_path,
]


@pytest.mark.parametrize("change", FORMS)
def test_form_that_is_not_as_it_was_written_is_ignored(
    path: str, change: Callable[[str], None]
) -> None:
    change(path)
    assert not in_use(path)
    assert max_countries(path) == 4


@pytest.mark.parametrize("change", [form for form in FORMS if form is not a_folder])
def test_form_replaces_whatever_is_in_its_place(path: str, change: Callable[[str], None]) -> None:
    change(path)
    assert prepared.renew(path)[1] == ""
    assert in_use(path)


def test_form_that_can_not_be_written_leaves_nothing_and_the_cause_is_returned(path: str) -> None:
    a_folder(path)
    values, problem = prepared.renew(path)
    assert problem == "Is a directory"
    assert values == options.read_values(path)
    names = sorted(os.listdir(os.path.dirname(path)))
    assert names == ["pcc.toml", "pcc.toml.prepared"]


def test_path_to_the_folder_may_be_any(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(os.path.dirname(path))
    folder = os.path.dirname(path)
    around = f"{folder}/../{os.path.basename(folder)}/pcc.toml"
    for name in ("pcc.toml", "./pcc.toml", f"{folder}//pcc.toml", around):
        assert in_use(name)
        assert max_countries(name) == 4


# Owners.


@as_root
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o664, 0o666])
def test_form_has_the_owners_and_the_readers_of_the_file(path: str, mode: int) -> None:
    user = pwd.getpwnam(service_user())
    os.chown(path, user.pw_uid, user.pw_gid)
    os.chmod(path, mode)
    assert prepared.renew(path)[1] == ""
    kept = os.stat(form(path))
    assert (kept.st_uid, kept.st_gid) == (user.pw_uid, user.pw_gid)
    assert kept.st_mode & 0o7777 == mode & 0o644


@as_root
def test_service_user_uses_the_form_that_root_has_made(path: str) -> None:
    assert as_user(service_user(), lambda: (in_use(path), max_countries(path))) == (True, 4)


@as_root
def test_service_user_may_own_the_file_and_make_the_form(path: str) -> None:
    user = pwd.getpwnam(service_user())
    os.chown(os.path.dirname(path), user.pw_uid, user.pw_gid)
    os.chown(path, user.pw_uid, user.pw_gid)
    os.unlink(form(path))
    assert as_user(service_user(), lambda: prepared.renew(path)[1]) == ""
    assert as_user(service_user(), lambda: in_use(path))


@as_root
def test_root_unmarshals_nothing_that_another_user_owns(path: str) -> None:
    user = pwd.getpwnam(service_user())
    os.chown(path, user.pw_uid, user.pw_gid)
    assert prepared.renew(path)[1] == ""
    assert as_user(service_user(), lambda: in_use(path))
    assert not in_use(path)
    assert max_countries(path) == 4


@as_root
def test_group_that_the_owner_is_not_in_does_not_widen_the_readers(path: str) -> None:
    """The owner can't give its file to that group, and its own group is another one."""
    user = pwd.getpwnam(service_user())
    os.chown(os.path.dirname(path), user.pw_uid, user.pw_gid)
    os.unlink(form(path))
    os.chown(path, user.pw_uid, 0)
    os.chmod(path, 0o640)
    assert as_user(service_user(), lambda: prepared.renew(path)[1]) == ""
    assert os.stat(form(path)).st_mode & 0o777 == 0o600


@as_root
def test_form_is_made_by_the_owner_of_the_file_or_root(path: str) -> None:
    os.chmod(os.path.dirname(path), 0o777)
    os.unlink(form(path))
    assert as_user(other_user(), lambda: prepared.renew(path)[1]) == "it belongs to another user"
    assert not os.path.exists(form(path))


# Attacks.


def forged(path: str) -> bytes:
    """Return a form of the file that says something else, as who may read it can make it."""
    source = os.stat(path)
    values = {**options.read_values(path), "verbose": True}
    temporary = public_folder("forged") / "pcc.toml"
    prepared.write(str(temporary), values, source)
    content = Path(form(str(temporary))).read_bytes()
    shutil.rmtree(temporary.parent)
    return content.replace(str(temporary).encode(), path.encode(), 1)


def test_forgery_of_these_tests_would_be_used_if_its_owner_were_right(path: str) -> None:
    Path(form(path)).write_bytes(forged(path))
    os.chmod(form(path), 0o644)
    assert load(path).verbose


def plant(path: str, content: bytes) -> str:
    """Put a form in place with the rights of this user; return how far that went."""
    try:
        if os.path.exists(form(path)):
            os.unlink(form(path))
        Path(form(path)).write_bytes(content)
        os.chmod(form(path), 0o644)
    except OSError as error:
        return str(error.strerror)
    return "planted"


@as_root
@pytest.mark.parametrize("attacker", [service_user(), other_user()])
def test_folder_of_root_lets_nobody_plant_a_form(path: str, attacker: str) -> None:
    content = forged(path)
    os.chmod(form(path), 0o644)
    assert as_user(attacker, lambda: plant(path, content)) == "Permission denied"
    assert not load(path).verbose


@as_root
@pytest.mark.parametrize("attacker", [service_user(), other_user()])
@pytest.mark.parametrize("mode", [0o777, 0o1777], ids=["writable", "sticky"])
def test_form_planted_in_a_folder_for_all_is_not_used(path: str, attacker: str, mode: int) -> None:
    content = forged(path)
    os.unlink(form(path))
    os.chmod(os.path.dirname(path), mode)
    assert as_user(attacker, lambda: plant(path, content)) == "planted"
    for user in ("root", service_user(), other_user()):
        assert not as_user(user, lambda: load(path).verbose)


@as_root
@pytest.mark.parametrize("make", [a_pipe, a_link, a_folder])
def test_file_that_another_user_puts_there_keeps_nobody_waiting(
    path: str, make: Callable[[str], None]
) -> None:
    os.chmod(os.path.dirname(path), 0o777)

    def attack() -> bool:
        make(path)
        return True

    assert as_user(other_user(), attack)
    assert as_user(service_user(), lambda: max_countries(path)) == 4


@as_root
def test_root_writes_the_form_through_nobody_elses_link(path: str) -> None:
    folder = os.path.dirname(path)
    os.chmod(folder, 0o777)
    victim = Path(folder) / "victim"
    victim.write_text("unharmed")

    def attack() -> bool:
        os.unlink(form(path))
        os.symlink(victim, form(path))
        return True

    assert as_user(other_user(), attack)
    assert prepared.renew(path)[1] == ""
    assert victim.read_text() == "unharmed"
    assert not os.path.islink(form(path))


@as_root
def test_user_who_may_write_the_file_changes_its_values_and_no_more(path: str) -> None:
    """A group-writable pcc.toml: its group can change it, which ends the use of the form."""
    user = pwd.getpwnam(other_user())
    os.chown(path, 0, user.pw_gid)
    os.chmod(path, 0o664)
    assert prepared.renew(path)[1] == ""
    assert os.stat(form(path)).st_mode & 0o777 == 0o644
    content = forged(path)
    assert as_user(other_user(), lambda: plant(path, content)) == "Permission denied"

    def attack() -> bool:
        rewrite_and_put_the_time_back(path)
        return True

    time.sleep(0.02)
    with pytest.raises(AssertionError, match="the function raised an error"):
        as_user(other_user(), attack)  # not the owner, so it can't put the time back
    assert not in_use(path)
    assert max_countries(path) == 5


def test_form_that_was_made_for_other_records_is_not_used(path: str) -> None:
    kept = Path(form(path))
    assert b"'hold_limit'" in kept.read_bytes()
    kept.write_bytes(kept.read_bytes().replace(b"'hold_limit', ", b"", 1))
    assert not in_use(path)
