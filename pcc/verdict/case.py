"""What a policy request is about, found by reading only.

`examine()` takes a request of an account that the configuration covers and
finds whether anything exempts it, whether the account is blocked, and the
country its mail comes from.  Verdicts and `pcc_admin.py check` go on from there;
`pcc_admin.py replay` takes the same steps on what it has in memory.
"""

from __future__ import annotations

from pcc import address as addresses
from pcc.places.lookup import NEVER
from pcc.store import sightings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pcc.address import Network
    from pcc.config import Config, Policy
    from pcc.places.lookup import CountryLookup
    from pcc.protocol import PolicyRequest
    from pcc.store.engine.interface import Database
    from pcc.store.sightings import Known


class Case:
    """What a request is about, as far as reading can tell.

    `because` says why its mail passes whatever the rule says; it is empty for
    a mail that the account's block stops or that the rule decides about.
    `address` is as recorded, "" for a client without a country.  `looked_up` is
    when the country database was made that `country` is from.
    """

    __slots__ = ("account", "address", "because", "country", "known", "looked_up", "policy")

    def __init__(self, account: str, address: str, policy: Policy, known: Known) -> None:
        self.account = account
        self.address = address
        self.policy = policy
        self.known = known
        self.because = ""
        self.country = ""
        self.looked_up = NEVER

    def is_blocked(self, now: float) -> bool:
        """Whether the account's mail is stopped, whatever else is true of this mail."""
        incident = self.known.incident
        return incident is not None and incident.blocks(now) and not self.policy.observes


def examine(
    config: Config,
    database: Database,
    lookup: CountryLookup,
    account: str,
    request: PolicyRequest,
    now: float,
) -> Case:
    """Return what a request of an account is about; nothing is written.

    `account` is one that the configuration covers.
    """
    packed = addresses.packed_address(request.client_address)
    if packed is not None and addresses.is_without_country(packed):
        packed = None
    address = addresses.recorded_address(packed) if packed else ""
    known = sightings.known(database, account, address)
    case = Case(account, address, config.policy_for(account), known)
    exempt = sightings.exemptions(database, account, now) if known.has_exemptions else []
    case.because = exemption_of_account(exempt)
    if case.because or case.is_blocked(now):
        return case
    if is_exempt_client(config, request, exempt):
        case.because = "the client is exempt"
    else:
        locate(case, lookup, packed)
    return case


def exemption_of_account(exempt: list[tuple[str, str]]) -> str:
    """Return why all mail of an account passes, by the exemptions for it, "" if it does not."""
    for kind, value in exempt:
        if kind != "client":
            return f"the {kind} {value} is exempt"
    return ""


def is_exempt_client(config: Config, request: PolicyRequest, exempt: list[tuple[str, str]]) -> bool:
    """Whether an account's mail passes, unless it is blocked, because of who the client is."""
    networks, names = config.exempt_networks, config.exempt_names
    if not (networks or names or exempt):
        return False
    packed = addresses.packed_address(request.client_address)
    if exempt:
        networks, names = _with_exemptions(networks, names, exempt)
    if packed is not None and networks and addresses.in_networks(packed, networks):
        return True
    return bool(names) and addresses.is_named(request.client_name, names)


def _with_exemptions(
    networks: tuple[Network, ...], names: tuple[str, ...], exempt: list[tuple[str, str]]
) -> tuple[tuple[Network, ...], tuple[str, ...]]:
    """Add the database's exemptions of clients to those of the configuration."""
    clients = [addresses.exempt_client(value) for _, value in exempt]
    return (
        (*networks, *[client for client in clients if not isinstance(client, str)]),
        (*names, *[client for client in clients if isinstance(client, str)]),
    )


def locate(case: Case, lookup: CountryLookup, packed: bytes | None) -> None:
    """Find the country: the one that the account's sighting there has, else by look-up.

    The dear look-up is needed only for new addresses, and once for each known
    one when there is another country database.
    """
    known = case.known.sighting
    case.looked_up = lookup.made()
    if known is not None and known.looked_up == case.looked_up:
        case.country = known.country
    elif packed is not None:
        case.country = lookup.country(addresses.address_text(packed))
    case.because = exemption_of_country(case.country, case.policy)


def exemption_of_country(country: str, policy: Policy) -> str:
    """Return why mail from a country, "" for none, passes without being recorded, else ""."""
    if not country:
        return "the client's address has no country"
    if country in policy.ignore_countries:
        return f"mail from {country} never counts"
    return ""
