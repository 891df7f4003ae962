"""One line in the mail log per event: syslog, facility mail, or postlog(1); `key=value`.

One function per event; nothing else in pcc logs.  Values that came
from outside are escaped and stand in angle brackets:

    blocked account=<user@example.org> client_address=<203.0.113.9> country=BR
        countries=ES,FR,BR,VN rule=<max_countries 3 in 2d> action=REJECT
        queue_id=4F2ABC instance=1b7.5f.0 network=AS64500

Callers log an error that every mail would repeat once per process.
"""

from __future__ import annotations

from pcc.escaping import escaped, printable
from pcc.host.syslog import ERROR, INFO, NOTICE, WARNING, fall_back_to_stderr, log, open_log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pcc.protocol import PolicyRequest


__all__ = ["fall_back_to_stderr", "open_log"]

MOST_QUEUE_IDS = 50
"""Queue ids that one line names: syslog daemons cut lines off, at 1,024 bytes of old."""


def blocked(
    account: str,
    request: PolicyRequest,
    country: str,
    network: str,
    countries: Sequence[str],
    rule: str,
    action: str,
) -> None:
    """Log that this mail made its account cross a limit and be blocked."""
    details = _crossing(account, request, country, countries, rule)
    log(WARNING, f"blocked {details} action={action}{_mail(request)}{_network(network)}")


def observed(
    account: str,
    request: PolicyRequest,
    country: str,
    network: str,
    countries: Sequence[str],
    rule: str,
) -> None:
    """Log that this mail would have blocked its account in enforce mode."""
    details = _crossing(account, request, country, countries, rule)
    log(WARNING, f"observed {details} action=DUNNO{_mail(request)}{_network(network)}")


def refused(account: str, request: PolicyRequest, rule: str, action: str) -> None:
    """Log that a mail of a blocked account was answered with this action."""
    word = escaped(action.partition(" ")[0])
    log(
        INFO,
        f"refused account=<{escaped(account)}> {_client(request)} rule=<{rule}> action={word}"
        f"{_mail(request)}",
    )


def held(account: str, request: PolicyRequest, rule: str) -> None:
    """Log that a mail of a blocked account was put on hold."""
    log(
        INFO,
        f"held account=<{escaped(account)}> {_client(request)} rule=<{rule}> action=HOLD"
        f"{_mail(request)}",
    )


def passed(account: str, request: PolicyRequest, country: str) -> None:
    """Log that a mail passed; only asked for when verbose."""
    log(
        INFO,
        f"passed account=<{escaped(account)}> {_client(request)} country={country or '-'}"
        f" action=DUNNO{_mail(request)}",
    )


def unblocked(account: str, by: str, reason: str) -> None:
    """Log that the account may send again; `by` is a person, or `pcc` itself."""
    log(
        NOTICE,
        f"unblocked account=<{escaped(account)}> by=<{escaped(by)}> reason=<{escaped(reason)}>",
    )


def block_by_hand(account: str, by: str, reason: str) -> None:
    """Log that an administrator blocked the account."""
    log(
        WARNING,
        f"blocked account=<{escaped(account)}> rule=<by hand> by=<{escaped(by)}>"
        f" reason=<{escaped(reason)}>",
    )


def released(account: str, by: str, queue_ids: Sequence[str]) -> None:
    """Log that an administrator let go of held mail."""
    log(NOTICE, f"released {_held_mail(account, by, queue_ids)}")


def deleted(account: str, by: str, queue_ids: Sequence[str]) -> None:
    """Log that an administrator deleted held mail."""
    log(NOTICE, f"deleted {_held_mail(account, by, queue_ids)}")


def exempted(kind: str, value: str, until: str, by: str, reason: str) -> None:
    """Log that an administrator exempted an account, a domain or a client; `until`: RFC 3339."""
    log(
        NOTICE,
        f"exempted kind={kind} value=<{escaped(value)}> until={until or '-'} by=<{escaped(by)}>"
        f" reason=<{escaped(reason)}>",
    )


def exemption_removed(kind: str, value: str, by: str) -> None:
    """Log that an administrator took an exemption back."""
    log(NOTICE, f"exemption_removed kind={kind} value=<{escaped(value)}> by=<{escaped(by)}>")


def forgotten(account: str, by: str) -> None:
    """Log that an administrator removed every trace of the account."""
    log(NOTICE, f"forgotten account=<{escaped(account)}> by=<{escaped(by)}>")


def server_away(server: str, reason: str) -> None:
    """Tell that this host answers by its own file until the shared server answers again."""
    log(ERROR, f"server_away server=<{escaped(server)}> reason=<{escaped(reason)}>")


def server_back(server: str, seconds: float) -> None:
    """Tell that the shared server answers again, `seconds` after it last did."""
    log(NOTICE, f"server_back server=<{escaped(server)}> seconds={seconds:.0f}")


def notice_sent(incident: int, channel: str) -> None:
    """Log that a notice left the outbox."""
    log(INFO, f"notice incident={incident} channel={channel} sent")


def error(message: str) -> None:
    """Log what went wrong, in one sentence."""
    log(ERROR, f"error {printable(message)}")


def _held_mail(account: str, by: str, queue_ids: Sequence[str]) -> str:
    names = ",".join(queue_ids[:MOST_QUEUE_IDS]) + (",..." * (len(queue_ids) > MOST_QUEUE_IDS))
    return (
        f"account=<{escaped(account)}> by=<{escaped(by)}> mails={len(queue_ids)} queue_ids={names}"
    )


def _crossing(
    account: str, request: PolicyRequest, country: str, countries: Sequence[str], rule: str
) -> str:
    return (
        f"account=<{escaped(account)}> {_client(request)} country={country}"
        f" countries={','.join(countries)} rule=<{rule}>"
    )


def _network(network: str) -> str:
    return f" network={network}" if network else ""


def _client(request: PolicyRequest) -> str:
    return f"client_address=<{escaped(request.client_address)}>"


def _mail(request: PolicyRequest) -> str:
    return (
        f" queue_id={escaped(request.queue_id) or '-'} instance={escaped(request.instance) or '-'}"
    )
