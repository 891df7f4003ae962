"""The manual, made from the programs themselves: `make manual`.

Each page is a Markdown file of this folder.  A line `{{name}}` in it stands for what the programs
say of themselves.  Commands and options come from pcc/admin, keys from pcc/config/options.py, their
descriptions from pcc.toml, exit statuses from pcc/errors.py, tables and columns from schema.sql.
Filled in, the pages are docs/reference/, and pandoc makes the man pages of them.  shtab makes the
completions.
"""
