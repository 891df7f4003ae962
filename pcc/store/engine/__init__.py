"""The databases that the store can be in: an SQLite file, or a server's.

`interface` is what each offers.
"""
