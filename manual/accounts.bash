# Made by `make manual` from the commands themselves: don't edit.
#
# Print the blocked accounts that begin with $1, a line each.  Logins are chosen by strangers: one
# that a shell would take apart, or for an option, is not offered.  Nothing of a login is evaluated.
_pcc_admin_accounts() {
    local account i config=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
            -c | --config) config=(--config "${COMP_WORDS[i + 1]}") ;;
        esac
    done
    while IFS= read -r account; do
        [[ $account != "$1"* ]] || printf '%s\n' "$account"
    done < <(command -- "${COMP_WORDS[0]}" "${config[@]}" --json list 2>/dev/null </dev/null |
        sed -n 's/^ *"account": "\([[:alnum:]_+.][][:alnum:]_+.@-]*\)",*$/\1/p')
}
