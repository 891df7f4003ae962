"""The manual, made from the programs themselves: `make manual`.

Each page is a Markdown file of this folder.  A line `{{name}}` in it stands for what the programs
say of themselves: commands and options with their help texts from pcc/admin, keys with defaults
and ranges from pcc/config/options.py and with the comments of pcc.toml, exit statuses from
pcc/errors.py, tables and columns from schema.sql.  Filled in, the pages are docs/reference/, and
pandoc makes the man pages of them; shtab makes the completions.
"""
