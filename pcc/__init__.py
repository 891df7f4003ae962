"""Postfix Country Control: stops mail accounts that send from too many places."""

VERSION = "1.1.0"
