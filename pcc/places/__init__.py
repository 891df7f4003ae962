"""Where an address is, by databases: its country, its network, its city.

`lookup` is what a verdict asks, `country` the file behind it.
"""
