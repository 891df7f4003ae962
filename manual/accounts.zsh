# Made by `make manual` from the commands themselves: don't edit.
#
# Complete the accounts that are blocked.  Logins are chosen by strangers: one that a shell would
# take apart, or for an option, is not offered.  Nothing of a login is evaluated.
_pcc_admin_accounts() {
    [[ $PREFIX != -* ]] || return 1
    local -a line=(${(z)LBUFFER}) accounts config
    local -i i=${line[(I)(-c|--config)]}
    (( i )) && config=(--config ${(Q)line[i + 1]})
    accounts=(${(f)"$(command -- ${(Q)line[(r)*pcc_admin.py]} $config --json list 2>/dev/null </dev/null |
        sed -n 's/^ *"account": "\([[:alnum:]_+.][][:alnum:]_+.@-]*\)",*$/\1/p')"})
    compadd -a accounts
}
