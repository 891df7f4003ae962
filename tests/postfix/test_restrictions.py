"""Restriction lists, gone through as smtpd(8) does."""

from __future__ import annotations

from pathlib import Path

import pytest

from pcc.errors import PccError
from pcc.postfix.configuration import PARAMETERS, Postconf, Service
from pcc.postfix.restrictions import permits, policy_checks


def service(data_restrictions: str, **classes: str) -> Service:
    values = dict.fromkeys(PARAMETERS, "")
    values["smtpd_sasl_auth_enable"] = "Yes"
    values["smtpd_data_restrictions"] = data_restrictions
    return Service("submission", values, classes)


@pytest.mark.parametrize(
    ("words", "hidden_by", "some"),
    [
        ("", "", False),
        ("reject_unauth_pipelining, check_sender_access hash:/permit", "", False),
        ("permit_mynetworks", "permit_mynetworks", True),
        ("permit_mynetworks permit_sasl_authenticated", "permit_sasl_authenticated", False),
        ("permit_sasl_authenticated permit_mynetworks", "permit_sasl_authenticated", False),
        ("reject", "reject", False),
        ("warn_if_reject reject", "", False),
        ("warn_if_reject permit", "permit", False),
        ("PERMIT_MyNetworks", "permit_mynetworks", True),
        ("permit_dnswl_client list.example", "permit_dnswl_client", True),
        ("reject_rbl_client permit", "", False),
        ("check_policy_service inet:127.0.0.1:1 permit", "permit", False),
    ],
)
def test_step_before_a_check_may_hide_it(words: str, hidden_by: str, some: bool) -> None:
    check = policy_checks(service(f"{words} check_policy_service unix:private/pcc"))[-1]
    assert (check.endpoint, check.options) == ("unix:private/pcc", {})
    assert (check.hidden_by, check.some) == (hidden_by, some)


@pytest.mark.parametrize(
    ("text", "mistake", "lacks_braces"),
    [
        ("unix:private/pcc", "", False),
        ("{ inet:127.0.0.1:10045 }", "", False),
        ("{ unix:private/pcc, timeout=10s, max_ttl = 1h }", "max_ttl", False),
        ("{ unix:private/pcc, { max_ttl = 1h }, try_limit=2, policy_context=x }", "", False),
        ("{ unix:private/pcc, { default_action = 451 4.3.0 Later }, timeout=10s }", "", False),
        ("{ unix:private/pcc, default_action=451 4.3.0 Later }", "4.3.0", True),
        (
            "{ unix:private/pcc, default_action={ 451 Later } }",
            "default_action={ 451 Later }",
            True,
        ),
        ("{ unix:private/pcc, timeout=10x }", "timeout=10x", False),
        ("{ unix:private/pcc, Timeout=10s }", "Timeout=10s", False),
        ("{ unix:private/pcc, timeout=10s", "{ unix:private/pcc, timeout=10s", False),
        ("unix", "unix", False),
        ("foo:bar", "foo:bar", False),
    ],
)
def test_check_that_smtpd_can_not_read_is_found(
    text: str, mistake: str, lacks_braces: bool
) -> None:
    check = policy_checks(service(f"check_policy_service {text}"))[0]
    assert (check.mistake == "") == (mistake == "")
    assert check.mistake.startswith(mistake)
    assert check.lacks_braces == lacks_braces


def test_access_maps_before_a_check_are_those_that_may_permit() -> None:
    words = (
        "check_sender_access hash:/a, reject_rhsbl_sender hash:x, friends, cidr:/b,"
        " check_sender_ns_access hash:/c, check_policy_service unix:private/pcc,"
        " check_client_access hash:/d"
    )
    found = policy_checks(service(words, friends="check_helo_access inline:{ a=OK, b=OK }"))[0]
    assert found.maps == ("hash:/a", "inline:{ a=OK, b=OK }", "cidr:/b")


REGEXP = """\
# /x/ OK
/^joe@/i    REJECT
    OK no more
if /@example/
!|/ann@|    {result}
endif
"""
CIDR = """\
# OK
192.0.2.0/24   REJECT
if 10.0.0.0/8
10.0.0.7
    {result}
endif
"""


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ("OK", True),
        ("ok, really", False),
        ("1766000000", True),
        ("450", False),
        ("550 5.7.1 OK", False),
        ("DUNNO", False),
        ("PREPEND X-OK: permit", False),
        ("permit", True),
        ("reject_unauth_pipelining, permit_mynetworks", True),
        ("permit_sasl_authenticated", True),
        ("friends", True),
        ("foes", False),
        ("", False),
    ],
)
@pytest.mark.parametrize("kind", ["static", "regexp", "cidr", "texthash"])
def test_access_map_permits_by_any_of_its_results(
    tmp_path: Path, kind: str, result: str, expected: bool
) -> None:
    path = tmp_path / "map"
    if kind == "static":
        name = f"static:{{{result}}}"
    else:
        name = f"proxy:{kind}:{path}"
        text = {"regexp": REGEXP, "cidr": CIDR}.get(kind, "joe REJECT\nann {result}\n")
        path.write_text(text.replace("{result}", result))
    of = service("", friends="permit", foes="reject")
    if kind == "texthash" and not _has_postmap():
        pytest.skip("no postmap(1)")
    assert permits(Postconf(), of, name) == expected


def _has_postmap() -> bool:
    try:
        Postconf().map_results("inline:{ a=OK }")
    except PccError:
        return False
    return True


@pytest.mark.parametrize("name", ["pipemap:{static:OK}", "cidr:/none", "hash:/none", "odd:x"])
def test_access_map_that_can_not_be_read_is_no_permission_and_no_refusal(name: str) -> None:
    with pytest.raises(PccError):
        permits(Postconf(), service(""), name)
