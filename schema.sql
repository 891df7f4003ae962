-- The data model of pcc.  This file is the one definition; the programs load it.
--
-- Times are UTC seconds since 1970, with a fraction; days are UTC days since 1970.  Mail
-- recipients are never stored.  `account` is always the normalised login: in
-- lower case, with its domain.

PRAGMA application_id = 1886610273;  -- "pcca": by which file(1) and doctor recognise the file
PRAGMA user_version = 3;             -- the version of this schema, checked whenever a database is opened

-- An address that an account was seen sending from: one row however many mails.
CREATE TABLE sighting (
    account     TEXT    NOT NULL,
    address     TEXT    NOT NULL,  -- an IPv4 address, or the /64 of an IPv6 address
    country     TEXT    NOT NULL,  -- ISO 3166 code, as the country database says
    looked_up   REAL    NOT NULL,  -- seconds: when that country database was made (its mtime, and a microsecond for each byte); 0: none was asked
    client_name TEXT    NOT NULL,  -- verified host name of the latest mail, or "unknown"
    first_seen  REAL    NOT NULL,  -- seconds
    last_seen   REAL    NOT NULL,  -- seconds
    mails       INTEGER NOT NULL,  -- how many since first_seen
    mails_before INTEGER NOT NULL DEFAULT 0,  -- of those, how many before counting last started afresh
    counts_since REAL    NOT NULL DEFAULT 0,  -- seconds: the first mail since then; 0: first_seen
    generation  INTEGER NOT NULL,  -- counts while it is that of the account
    days        TEXT    NOT NULL,  -- the latest days it was seen on, newest first, separated by blanks; "|N" marks an incident, see pcc/history.py
    runs        TEXT    NOT NULL,  -- for min_mails, see pcc/rule.py; empty where that is 1
    instance    TEXT    NOT NULL,  -- Postfix's instance of the latest mail, so that a retry counts once
    hour        INTEGER NOT NULL,  -- last_seen in whole hours since 1970
    repeats_until REAL  NOT NULL DEFAULT 0,  -- seconds; until then a mail from here changes nothing but counts; negative while this may not be on disk
    judged_by   INTEGER NOT NULL DEFAULT 0,  -- the configuration and country database by which that is so
    network     TEXT    NOT NULL DEFAULT '',  -- "AS64500", or the /16 or /32 where none is known; empty: not looked up
    PRIMARY KEY (account, address)
) WITHOUT ROWID;

-- Limits on addresses read those of one account that were seen lately.  The index has
-- whole hours, so that most mails leave it as it is.
CREATE INDEX sighting_by_hour ON sighting (account, hour, address);

-- Administrators ask who else was seen from an address.
CREATE INDEX sighting_by_address ON sighting (address);

-- A country or a network that an account was seen sending from: the sum of its sightings there.
CREATE TABLE place (
    account     TEXT    NOT NULL,
    kind        TEXT    NOT NULL,  -- "country" or "network"
    name        TEXT    NOT NULL,  -- ISO 3166 code; or as sighting.network
    first_seen  REAL    NOT NULL,  -- seconds
    last_seen   REAL    NOT NULL,  -- seconds
    mails       INTEGER NOT NULL,  -- how many since first_seen
    generation  INTEGER NOT NULL,  -- counts while it is that of the account
    days        TEXT    NOT NULL,  -- as in sighting
    runs        TEXT    NOT NULL,  -- as in sighting
    PRIMARY KEY (account, kind, name)
) WITHOUT ROWID;

-- Mails that were answered and are not yet in the sums above: a log.  A process appends a row for
-- each group of them.  Then they are sorted into pieces, and each piece is added to the sums; see
-- pcc/store/sums.py.
CREATE TABLE counted (
    writer TEXT    NOT NULL,  -- the process that answered them: random letters; empty: a piece
    number INTEGER NOT NULL,  -- of the group, counted by its writer; or of the piece
    at     REAL    NOT NULL,  -- seconds: the first of the mails
    mails  TEXT    NOT NULL,  -- a line for each mail of a group, or each place of a piece; see pcc/store/repeats.py
    PRIMARY KEY (writer, number)
) WITHOUT ROWID;

CREATE INDEX counted_by_time ON counted (at);

-- The groups that are in pieces, or in the sums: a group that is written again counts no second time.
CREATE TABLE folded (
    writer TEXT    NOT NULL PRIMARY KEY,  -- as in counted
    number INTEGER NOT NULL,  -- of its latest group that was sorted; or of the latest piece made
    at     REAL    NOT NULL   -- seconds: when they were sorted; of pieces: since when a process sorts, 0 for none
) WITHOUT ROWID;

CREATE INDEX folded_by_time ON folded (at);

-- An account that ever had an incident, on a server any account.  Without a row: generation 0,
-- no incident.
CREATE TABLE account (
    account     TEXT    NOT NULL PRIMARY KEY,
    generation  INTEGER NOT NULL,  -- how often counting has started afresh
    turns       INTEGER NOT NULL,  -- how often a process had its turn to write, on a server; see pcc/store/engine/server.py
    incident    INTEGER,           -- the open incident, if any
    observed    INTEGER,           -- the open incident of a limit that only observes, if any
    networks_made REAL  NOT NULL DEFAULT 0,   -- seconds: when the network database was made by which all its networks are known; 0: not all are
    hosting_mails TEXT  NOT NULL DEFAULT '',  -- its latest mails from unfamiliar hosting networks: "seconds:days there:days", newest first, separated by blanks; see pcc/rule.py
    foreign_mails TEXT  NOT NULL DEFAULT '',  -- the same of mails from unfamiliar countries
    changed     REAL    NOT NULL DEFAULT 0    -- seconds: when a process last had its turn to decide, on a server; hosts follow that
) WITHOUT ROWID;

CREATE INDEX account_by_change ON account (changed);

-- A limit was crossed, or an administrator blocked: one row until it is lifted.
CREATE TABLE incident (
    id             INTEGER NOT NULL,  -- nanoseconds since 1970 when it was written: not used again, even after `forget`
    account        TEXT    NOT NULL,
    mode           TEXT    NOT NULL,  -- "enforce": the account is blocked; "observe": it would have been
    rule           TEXT    NOT NULL,  -- e.g. "max_countries 3 in 2d", or "by hand"
    window_seconds INTEGER NOT NULL,  -- that of the limit; 0 by hand
    countries      TEXT    NOT NULL,  -- ISO 3166 codes that counted, separated by commas
    country        TEXT    NOT NULL,  -- of the crossing mail
    client_address TEXT    NOT NULL,  -- of the crossing mail
    client_name    TEXT    NOT NULL,  -- of the crossing mail
    queue_id       TEXT    NOT NULL,  -- of the crossing mail, empty if it had none yet
    action         TEXT    NOT NULL,  -- what its mails are answered with, without the text
    began          REAL    NOT NULL,  -- seconds
    expires        REAL    NOT NULL,  -- seconds; 0: an administrator must lift it
    ended          REAL   ,           -- seconds; empty while it is open
    held           INTEGER NOT NULL,  -- mails that were put on hold
    tries          INTEGER NOT NULL,  -- mails that were stopped, held ones included
    last_try       REAL,              -- seconds; empty before the first
    instance       TEXT    NOT NULL,  -- of the latest mail stopped, so that a retry counts once
    PRIMARY KEY (account, id)
) WITHOUT ROWID;

CREATE INDEX incident_by_end ON incident (ended);

-- A mail that was put on hold because its account was blocked.
CREATE TABLE held (
    incident  INTEGER NOT NULL,
    instance  TEXT    NOT NULL,  -- Postfix's instance: one row per mail, whatever its recipients
    account   TEXT    NOT NULL,
    queue_id  TEXT    NOT NULL,  -- empty where Postfix gave none (first recipient at RCPT)
    sender    TEXT    NOT NULL,  -- envelope sender; another one shows that the queue id was used again
    at        REAL    NOT NULL,  -- seconds
    state     TEXT    NOT NULL,  -- "held", "released", "deleted" or "missing", as last known; "to release", "to delete": see pcc/store/incidents.py
    host      TEXT    NOT NULL DEFAULT '',  -- the host that has it in its queue, where several share the database; otherwise empty
    PRIMARY KEY (account, incident, instance)
) WITHOUT ROWID;

-- Where the mail of a blocked account came from, and goes on coming from: at most 500 addresses.
CREATE TABLE attempt (
    account   TEXT    NOT NULL,
    incident  INTEGER NOT NULL,
    address   TEXT    NOT NULL,  -- as in sighting
    mails     INTEGER NOT NULL,  -- how many were stopped
    first_try REAL    NOT NULL,  -- seconds
    last_try  REAL    NOT NULL,  -- seconds
    PRIMARY KEY (account, incident, address)
) WITHOUT ROWID;

-- A host among several that share the database.
CREATE TABLE host (
    host   TEXT NOT NULL PRIMARY KEY,  -- its name, as in held
    limits TEXT NOT NULL,  -- its configuration, as far as hosts should have the same
    at     REAL NOT NULL   -- seconds: when it wrote that
) WITHOUT ROWID;

-- In a host's own file: the shared server that the file follows; see pcc/store/following.py.
CREATE TABLE followed (
    server TEXT NOT NULL PRIMARY KEY,  -- its URL, without a password
    at     REAL NOT NULL,  -- seconds: what was committed there before is in this file
    mailed REAL NOT NULL   -- seconds: when administrators got a mail that it is away; 0: it is not
) WITHOUT ROWID;

-- An account, a domain or a client that an administrator has exempted, beside those of pcc.toml.
CREATE TABLE exemption (
    kind    TEXT    NOT NULL,  -- "account", "domain" or "client"
    value   TEXT    NOT NULL,  -- an account, a domain without "@", a network or a host name
    until   REAL    NOT NULL,  -- seconds; 0: for ever
    created REAL    NOT NULL,  -- seconds
    who     TEXT    NOT NULL,  -- who did it
    reason  TEXT    NOT NULL,  -- for administrators
    told    REAL    NOT NULL DEFAULT 0,  -- seconds: the end that a notice has announced
    PRIMARY KEY (kind, value)
) WITHOUT ROWID;

-- What happened to an account, for administrators.
CREATE TABLE event (
    id       INTEGER NOT NULL,  -- as in incident
    at       REAL    NOT NULL,  -- seconds
    account  TEXT    NOT NULL,
    what     TEXT    NOT NULL,  -- e.g. "blocked", "observed", "unblocked", "expired", "released"
    who      TEXT    NOT NULL,  -- who did it; "pcc" for the program itself
    detail   TEXT    NOT NULL,  -- one line
    PRIMARY KEY (account, id)
) WITHOUT ROWID;

CREATE INDEX event_by_time ON event (at);

-- What `stats` counts since ever.  Of incidents and held mail this is only the share of rows that
-- were dropped since; see pcc/store/counters.py.
CREATE TABLE counter (
    name  TEXT    NOT NULL PRIMARY KEY,  -- what is counted
    value INTEGER NOT NULL               -- how many; the share of dropped rows may be below 0
) WITHOUT ROWID;

-- Notices that are still to be sent.
CREATE TABLE outbox (
    id         INTEGER NOT NULL,  -- as in incident
    incident   INTEGER NOT NULL,  -- what it is about; 0: the end of an exemption
    account    TEXT    NOT NULL,  -- or the domain or client whose exemption ends
    what       TEXT    NOT NULL,  -- "blocked", "observed", "unblocked" or "exemption_ends"
    channel    TEXT    NOT NULL,  -- "mail" or "command"
    detail     TEXT    NOT NULL,  -- of an unblock: by whom, why and how many mails; or the exemption; as JSON
    created    REAL    NOT NULL,  -- seconds
    taken      REAL    NOT NULL,  -- seconds: until then it belongs to the process that sends it
    tries      INTEGER NOT NULL,  -- failed so far
    last_error TEXT    NOT NULL,  -- why it failed last, one line
    next_try   REAL    NOT NULL,  -- seconds; before that only an administrator's command sends it
    recipients TEXT    NOT NULL,  -- those of notify.to that have yet to get it, separated by blanks; empty: all
    together   TEXT    NOT NULL DEFAULT '',  -- notices that have the same word go in one mail; empty: in one of their own, or by notify.digest
    PRIMARY KEY (account, id)
) WITHOUT ROWID;

-- Notices are sent in the order of their ids.
CREATE INDEX outbox_by_id ON outbox (id);
