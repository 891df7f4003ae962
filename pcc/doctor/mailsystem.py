"""The Postfix that should ask us, by postconf(1): our entry, and its clients' services."""

from __future__ import annotations

from pcc.doctor import entry as our_entry
from pcc.doctor import log
from pcc.doctor.restrictions import Asking
from pcc.errors import PccError
from pcc.invocation import shell_word
from pcc.postfix import recentlog
from pcc.postfix.configuration import Entry, Postconf, Service
from pcc.postfix.restrictions import permits


class MailSystem:
    """The output of postconf(1); `problem` says why there is none."""

    def __init__(self, config_directory: str) -> None:
        self.problem = ""
        self.entries: list[Entry] = []
        self.entry: Entry | None = None
        self.values: dict[str, str] = {}
        self.smtpd: list[Service] = []
        self._settings: dict[str, str] = {}
        self._config_directory = config_directory
        self._postconf = postconf = Postconf(config_directory)
        try:
            self.entries = entries = postconf.entries()
            self.entry = our_entry.find_entry(entries)
            self.smtpd = [postconf.service(entry) for entry in entries if entry.command == "smtpd"]
            self._settings = {
                f"{name} in main.cf": value for name, value in postconf.settings().items()
            }
            for entry in entries:
                for name, value in entry.overrides.items():
                    self._settings[f"{name} of {entry.name} in master.cf"] = value
            names = [*log.PARAMETERS, "mail_owner", "myhostname", "smtpd_policy_service_max_ttl"]
            names += [self._time_limit, "command_time_limit"]
            self.values = postconf.values(names, self.entry.overrides if self.entry else {})
        except PccError as error:
            self.problem = str(error)

    @property
    def name(self) -> str:
        """The name of our entry in master.cf."""
        return self.entry.name if self.entry else our_entry.DEFAULT_NAME

    @property
    def _time_limit(self) -> str:
        return f"{self.name}_time_limit"

    @property
    def limit(self) -> str:
        """The time limit of our entry; where that is missing, what it should be."""
        if self.entry is None:
            return our_entry.TIME_LIMIT
        return self.values[self._time_limit] or self.values["command_time_limit"]

    @property
    def command(self) -> str:
        """How to call postfix(1) for it."""
        directory = self._config_directory
        return f"postfix -c {shell_word(directory)}" if directory else "postfix"

    @property
    def log(self) -> str:
        """Where it logs, as far as that can be known."""
        return recentlog.place_of(self.values["maillog_file"]) or "the mail log"

    def asking(self) -> Asking:
        """Return how it asks us."""
        kind = "inet" if self.entry is not None and self.entry.type == "inet" else "unix"
        name = self.name if kind == "inet" else f"private/{self.name}"
        return Asking(
            self.smtpd,
            f"{kind}:{name}",
            self.values["queue_directory"],
            self._settings,
            lambda service, access_map: permits(self._postconf, service, access_map),
        )
