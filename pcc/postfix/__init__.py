"""Postfix's own tools: postconf(1), the queue, and the mail that is on hold there."""
