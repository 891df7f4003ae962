"""Postfix Country Control: stops mail accounts that send from too many countries."""

VERSION = "1.1.0"
