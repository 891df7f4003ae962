"""Mail logs judged by the rule of a verdict: what the limits would have done.

`logfiles` opens and sorts the logs, `submissions` reads their lines, `networks` finds the countries
of very many addresses.  `judging` takes the steps of a verdict on each mail, under a grid of
settings at once, on what `past` keeps in memory in the place of the store; `advice` says which
setting to take.  The command, and what it prints, is in pcc/admin/replay.py.
"""
