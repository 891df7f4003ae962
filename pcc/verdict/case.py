"""The case of a policy request: every gate before the rule, in their order, by reading only.

1. The request is of a login (`Config.account_of`), and
2. the configuration covers its account (`Config.covers`): neither needs the database, so the
   caller asks first.
3. The account or its domain is exempt in the database: the mail passes.
4. The account is blocked: the mail is stopped.
5. The client is exempt, by its address, network or verified name: the mail passes.
6. The client's address has no country, or one that is ignored: the mail passes.

The rule judges all other mail.  Verdicts, `pcc_admin.py check` and `replay` use the same gates.
"""

from __future__ import annotations

from pcc import address as addresses
from pcc.config import NEVER
from pcc.store import sightings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pcc.config import Config, Policy
    from pcc.places.lookup import Lookup
    from pcc.protocol import PolicyRequest
    from pcc.store.engine.interface import Database
    from pcc.store.sightings import Known

NO_COUNTRY = "the client's address has no country"


class Case:
    """One request of an account, with what is known of both.

    `because` says why its mail passes whatever the rule says; it is empty for a mail that the
    account's block stops or that the rule decides about.  `address` is as recorded, "" for a client
    without a country; `network` as places.lookup has it.  `looked_up` is when the country database
    was made that `country` is from.  `instance` is unique to the mail.
    """

    __slots__ = (
        *("account", "address", "because", "country", "instance", "is_hosting", "known"),
        *("looked_up", "network", "policy", "request"),
    )

    def __init__(
        self, account: str, request: PolicyRequest, address: str, policy: Policy, known: Known
    ) -> None:
        self.account = account
        self.request = request
        self.address = address
        self.policy = policy
        self.known = known
        self.because = ""
        self.country = ""
        self.network = ""
        self.is_hosting = False
        self.looked_up = NEVER
        self.instance = request.instance
        if not self.instance:  # a request without one is taken for a mail of its own
            from time import time_ns

            self.instance = f"none.{time_ns()}"

    def is_blocked(self, now: float) -> bool:
        """Whether the account's mail is stopped, regardless of this mail."""
        incident = self.known.incident
        return incident is not None and incident.blocks(now) and not self.policy.observes

    def with_known(self, known: Known) -> Case:
        """Return the case with what is known of its account by now."""
        case = Case(self.account, self.request, self.address, self.policy, known)
        case.instance = self.instance
        case.country, case.looked_up = self.country, self.looked_up
        case.network, case.is_hosting = self.network, self.is_hosting
        return case


def examine(
    config: Config,
    database: Database,
    lookup: Lookup,
    account: str,
    request: PolicyRequest,
    now: float,
) -> Case:
    """Return what a request of an account is about, by the gates from the third on.

    `account` is one that the configuration covers.
    """
    packed = addresses.packed_address(request.client_address)
    is_somewhere = packed is not None and not addresses.is_without_country(packed)
    address = addresses.recorded_address(packed) if packed and is_somewhere else ""
    known = sightings.known(database, account, address)
    case = Case(account, request, address, config.policy_for(account), known)
    exempt = sightings.exemptions(database, account, now) if known.has_exemptions else []
    case.because = exemption_of_account(exempt)
    if case.because or case.is_blocked(now):
        return case
    if is_exempt_client(config, packed, request.client_name, exempt, lookup):
        case.because = "the client is exempt"
    else:
        locate(case, lookup, packed if is_somewhere else None)
    return case


def exemption_of_account(exempt: list[tuple[str, str]]) -> str:
    """Return why all mail of an account passes, by the exemptions for it, "" if it does not."""
    for kind, value in exempt:
        if kind != "client":
            return f"the {kind} {value} is exempt"
    return ""


def is_exempt_client(
    config: Config,
    packed: bytes | None,
    client_name: str,
    exempt: list[tuple[str, str]],
    lookup: Lookup,
) -> bool:
    """Whether a client's mail passes, unless the account is blocked, because of who it is.

    `packed`: its address, None where that is unknown.  `exempt`: kind and value of exemptions in
    the database.
    """
    clients = [addresses.exempt_client(value) for kind, value in exempt if kind == "client"]
    networks = (*config.exempt_networks, *[c for c in clients if not isinstance(c, str)])
    names = (*config.exempt_names, *[c for c in clients if isinstance(c, str)])
    if packed is not None and networks and addresses.in_networks(packed, networks):
        return True
    if names and addresses.is_named(client_name, names):
        return True
    systems = [*[f"AS{n}" for n in config.exempt_systems], *[n for n in names if n[:2] == "AS"]]
    if not systems or packed is None:
        return False
    return addresses.is_exempt_system(packed, lookup.network(packed), tuple(systems))


def locate(case: Case, lookup: Lookup, packed: bytes | None) -> None:
    """Find country and network: those that the account's sighting there has, or by look-up.

    The expensive look-up is needed only for new addresses, and once for each known one after a
    file was replaced.  `packed`: the address, None for one without a country.
    """
    known = case.known.sighting
    case.looked_up = lookup.countries_made()
    if known is not None and known.looked_up == case.looked_up:
        case.country = known.country
    elif packed is not None:
        case.country = lookup.country(packed)
    case.because = exemption_of_country(case.country, case.policy)
    if case.because or packed is None:
        return
    limits = case.policy.limits
    made = lookup.networks_made()
    if known is not None and case.known.networks_made == made:
        case.network = known.network
    elif made != NEVER or any(limit.max_networks or limit.max_hosting_mails for limit in limits):
        case.network = lookup.network(packed)
    if case.network and any(limit.max_hosting_mails for limit in limits):
        case.is_hosting = lookup.is_hosting(case.network)


def exemption_of_country(country: str, policy: Policy) -> str:
    """Return why mail from a country, "" for none, passes without being recorded, or ""."""
    if not country:
        return NO_COUNTRY
    if country in policy.ignore_countries:
        return f"mail from {country} never counts"
    return ""
