"""The manual pages and shell completions, made from the programs themselves: `make manual`.

What the programs say of themselves is taken from them: commands and options with their help texts
from pcc/admin, keys with their defaults and ranges from pcc/config/options.py, their descriptions
from the comments of the pcc.toml we ship, exit statuses from pcc/errors.py.  What can't be had
from there is prose, and stands in the text files of this folder, in the markup of manual/markup.py.
"""
