#!/bin/sh
# Runs several commands, each with the incident on its stdin.  Each argument is a command line.
#
#   command = ["/etc/pcc/on-incident/all.sh",
#              "/etc/pcc/on-incident/lock_sql.py /etc/pcc/mail.cnf mailbox username password",
#              "sudo -n /etc/pcc/on-incident/end_sessions.py"]
#
# If one fails, the others run all the same.  pcc runs all of them again later.
incident=$(cat)
status=0
for step in "$@"; do
    # shellcheck disable=SC2086  # a command and its arguments
    printf '%s\n' "$incident" | $step || status=1
done
exit $status
