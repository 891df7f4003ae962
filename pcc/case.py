"""What a policy request is about, found by reading only.

`examine()` takes a request of an account that the configuration covers and
finds whether anything exempts it, whether the account is blocked, and the
country its mail comes from.  Verdicts and `pcc_admin.py check` go on from there.
"""

from __future__ import annotations

from pcc import address as addresses
from pcc.errors import CountryError
from pcc.store import sightings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pcc.config import Config, Policy
    from pcc.country import CountryDatabase
    from pcc.protocol import PolicyRequest
    from pcc.store.database import Database
    from pcc.store.sightings import Incident, Sighting


class Case:
    """What a request is about, as far as reading can tell.

    `because` says why its mail passes whatever the rule says; it is empty for
    a mail that the account's block stops or that the rule decides about.
    `address` is as recorded; `known` is what the account's sighting there says.
    """

    __slots__ = (
        "account",
        "address",
        "because",
        "country",
        "generation",
        "incident",
        "known",
        "policy",
    )

    def __init__(self, account: str, policy: Policy) -> None:
        self.account = account
        self.policy = policy
        self.because = ""
        self.address = ""
        self.country = ""
        self.generation = 0
        self.incident: Incident | None = None
        self.known: Sighting | None = None

    def is_blocked(self, now: float) -> bool:
        """Whether the account's mail is stopped, whatever else is true of this mail."""
        return self.incident is not None and self.incident.blocks(now) and not self.policy.observes


class CountryLookup:
    """The country of an address, or "" where it is unknown for whatever reason.

    `complain` is called when the database is missing or broken.
    """

    def __init__(self, path: str, complain: Callable[[str], None]) -> None:
        self._path = path
        self._complain = complain
        self._database: CountryDatabase | None = None

    def country(self, packed: bytes) -> str:
        """Return the ISO 3166 code for a packed address, "" if there is none."""
        if self._database is None:
            from pcc.country import CountryDatabase

            self._database = CountryDatabase(self._path)
        try:
            return self._database.country(addresses.address_text(packed)) or ""
        except CountryError as error:
            self._complain(str(error))
            return ""


def account_of(config: Config, request: PolicyRequest) -> str:
    """Return the account that a request is about, "" where no client is authenticated."""
    login = request.sasl_username
    if login and config.account == "sender":
        login = request.sender or login
    return config.normalised_account(login)


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
    case = Case(account, config.policy_for(account))
    exempt = sightings.exemptions(database, account, now)
    case.generation, case.incident = sightings.account_state(database, account)
    for kind, value in exempt:
        if kind != "client":
            case.because = f"the {kind} {value} is exempt"
            return case
    if case.is_blocked(now):
        return case
    packed = addresses.packed_address(request.client_address)
    if _is_exempt_client(config, packed, request.client_name, exempt):
        case.because = "the client is exempt"
    elif packed is None or addresses.is_without_country(packed):
        case.because = "the client's address has no country"
    else:
        _locate(case, database, lookup, packed)
    return case


def _is_exempt_client(
    config: Config, packed: bytes | None, client_name: str, exempt: list[tuple[str, str]]
) -> bool:
    if packed is not None and addresses.in_networks(packed, config.exempt_networks):
        return True
    if addresses.is_named(client_name, config.exempt_names):
        return True
    return bool(exempt) and _is_exempted_client(packed, client_name, exempt)


def _is_exempted_client(
    packed: bytes | None, client_name: str, exempt: list[tuple[str, str]]
) -> bool:
    """Whether an exemption of kind client in the database applies."""
    from pcc.options import exempt_client  # only where an administrator made such exemptions

    clients = [exempt_client(value) for _, value in exempt]
    networks = tuple([client for client in clients if not isinstance(client, str)])
    names = tuple([client for client in clients if isinstance(client, str)])
    return (packed is not None and addresses.in_networks(packed, networks)) or addresses.is_named(
        client_name, names
    )


def _locate(case: Case, database: Database, lookup: CountryLookup, packed: bytes) -> None:
    """Find the country: the one that the account's sighting there has, else by look-up.

    So an address does not count as two countries because the country database
    has changed its mind, and the dear look-up is needed for new addresses only.
    """
    case.address = addresses.recorded_address(packed)
    case.known = sightings.sighting(database, case.account, case.address)
    case.country = case.known.country if case.known else lookup.country(packed)
    if not case.country:
        case.because = "the client's address has no country"
    elif case.country in case.policy.ignore_countries:
        case.because = f"mail from {case.country} never counts"
