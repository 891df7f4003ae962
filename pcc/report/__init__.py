"""What pcc has seen and done over some weeks, for those who choose the limits.

`gathering` reads it all; `activity` counts by day and country, `nearness` tells who is near a
limit, `alarms` which blocks were likely wrong and what would have prevented them.  `page` fills
the template page.html, one self-contained page; `charts` computes what is drawn there.  The text
for a terminal is in pcc/admin/report.py.
"""
