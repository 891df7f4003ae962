"""What pcc remembers, in a local SQLite file.

`database` opens the file and gives transactions; `sightings` is what a verdict
reads and writes, `blocks` what it writes where an account is blocked;
`incidents`, `exemptions`, `outbox` and `upkeep` are what administrators and
cron work with.  All SQL of pcc is in this package and in schema.sql.
"""
