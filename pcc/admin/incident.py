"""An incident, or a block in force, as `list` and `show` show it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pcc.admin.exemption import of_account
from pcc.admin.output import Lines

if TYPE_CHECKING:
    from pcc.admin.context import Context
    from pcc.store.incidents import IncidentRow


def state(context: Context, row: IncidentRow) -> str:
    """Return the state of an incident, and of a block in force why mail passes all the same."""
    state = row.state(context.now)
    why = why_not_enforced(context, row.account) if state == "BLOCKED" else ""
    return f"not enforced: {why}" if why else state


def why_not_enforced(context: Context, account: str) -> str:
    """Return why mail of a blocked account would pass, "" if it would not."""
    if of_account(context, account):
        return "account is exempt"
    if not context.config.covers(account):
        return "outside policy.domains"
    return "mode is observe" if context.config.policy_for(account).observes else ""


def crossed(row: IncidentRow) -> str:
    """Return the rule, and the countries that counted: `max_countries 2 in 2d: ES,FR,BR`."""
    return f"{row.rule}: {row.countries}" if row.countries else row.rule


def narrow_state(text: str) -> Any:
    """Return a state for a narrow table: in two lines where it has a reason."""
    what, colon, why = text.partition(": ")
    return Lines((what + ":", why)) if colon else text
