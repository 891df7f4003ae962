"""Notices to administrators, and the way they take.

`notice` is one event, and `text`, `mail` and `data` are its forms.  `outbox` sends the notices that
wait, by `delivery`.  `notifier` starts that in a process of its own.
"""
