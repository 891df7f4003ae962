"""What administrators are told, and how it gets to them.

`notice` is one event, `text`, `mail` and `data` its forms; `outbox` sends what waits, by
`delivery`; `notifier` starts that in a process of its own.
"""
