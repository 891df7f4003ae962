"""Mail logs judged by the rule of a verdict: what the limits would have done.

`logfiles` opens and sorts the logs, `submissions` reads their lines, of which `forms` knows the
less common ones and `logclock` the dates.  `settings` is the grid that is tried.  `judging` takes
the steps of a verdict on each mail; `past` takes the place of the store, in memory.  `outcomes`
says which accounts look stolen, `heights` how high accounts got, `advice` which setting to take,
and `tables` shows it.  `recent` looks at the end of the log for `doctor` and `stats`.
"""
