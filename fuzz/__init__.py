"""A fuzzer of policy requests: what Postfix would never send, and what it might.

`python -m fuzz`, or `make fuzz`, generates requests and fragments from a seed and holds what pcc
makes of them against two simple, independent models: `protocol_model`, of the policy protocol, and
`rule_model`, of the rule in README.md.  Modules:

    generate        requests, their mutations, and strings made to break something
    parsing         bytes through the RequestReader, whole and in pieces
    verdicts        requests through a whole verdict, on a real SQLite file
    conversation    bytes through a real process: nothing but replies comes back
    showing         hostile strings through all that shows them: log, notice, tables, JSON
    guided          the parser once more, guided by coverage (atheris, where it is installed)
"""
