"""Some weeks of incidents and mail, for people who choose the limits.

`gathering` reads it all.  `activity` counts by day and country, `nearness` finds the accounts near
a limit, `alarms` the blocks that were likely wrong and their cures.  `page` fills the template
page.html, one self-contained page, and `charts` computes its pictures.  The text for a terminal is
in pcc/admin/report.py.
"""
