"""How fast pcc is, beside what nothing could be faster than: see README.md here."""
