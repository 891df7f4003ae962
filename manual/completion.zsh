#compdef pcc_admin.py pcc_admin
# Made by `make manual` from the commands themselves: don't edit.
#
# Accounts are logins, chosen by strangers: nothing is ever evaluated, and zsh
# quotes what is inserted.  The program is asked once at most, and what it has
# to complain about is not shown.

# Complete the accounts that are blocked.  JSON has them on a line each, with
# what can't stand there escaped; printf %b knows these escapes, and runs nothing.
_pcc_admin_accounts() {
    local program=${(Q)_pcc_admin_line[1]} config='' ended='' line account expl
    local -a accounts before=("${(@Q)_pcc_admin_line[2,-1]}")
    local -i i
    for ((i = 1; i <= $#before; i++)); do
        case $before[i] in
            --) ended=yes; break ;;
            -c|--config) ((i += 1)); config=$before[i] ;;
            --config=*) config=${before[i]#*=} ;;
            -c?*) config=${before[i]#-c} ;;
        esac
    done
    [[ $PREFIX != -* || -n $ended ]] || return 1
    [[ $program != '~/'* ]] || program=$HOME/${program#'~/'}
    [[ $config != '~/'* ]] || config=$HOME/${config#'~/'}
    whence -p -- "$program" >/dev/null || return 1
    for line in "${(@f)$(command -- "$program" ${config:+--config} ${config:+"$config"} --json list 2>/dev/null </dev/null)}"; do
        [[ $line == [[:space:]]*'"account": "'*'"'(,|) ]] || continue
        account=${${line#*'"account": "'}%\"*}
        account=${account//\\\\/\\u005c}
        printf -v account %b "${account//\\\"/\\u0022}"
        # What begins with a dash is an option, unless they have ended.
        [[ $account == -* && -z $ended ]] || accounts+=("$account")
    done
    _wanted accounts expl 'blocked account' compadd -a accounts
}

@COMMANDS@

_pcc_admin "$@"
