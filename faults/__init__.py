"""Faults, injected into real policy processes: what is lost, let through or locked out by them.

`python -m faults`, or `make faults`, injects them by the thousand and prints a table of what was
measured; tests/test_faults.py does a little of each within the tests.  Modules by kind of fault:

    kill        processes that end without a warning, under load
    power       writes that were never synced are lost
    disk        a disk that is full, or fails, from the nth write on
    broken      files, rights, locks, limits and clocks that are not as they should be
    crowd       the first mails of an account, from many countries at the same instant
    watchdogs   what is stuck for ever: store, syslog, sendmail, Postfix itself
    mta         a real Postfix under load, whose policy processes are killed

`ledger` has the load, and holds what was answered against what the database says; `world` is
an installation to be broken.
"""
