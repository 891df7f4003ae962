# Completion of pcc_admin.py for bash 4.4 and later.
# Made by `make manual` from the commands themselves: don't edit.
#
# Accounts are logins, chosen by strangers: nothing is ever evaluated, and what
# is inserted is one quoted word.  The program is asked once at most, and what
# it has to complain about is not shown.

# Set what may follow a command: its own commands, its options with ("takes":
# option=kind) and without an argument, and the kinds of its operands.
_pcc_admin_grammar() {
    commands='' options='' takes='' operands=''
    case $1 in
        '')
            commands='list show check block forget unblock held exempt replay report country stats doctor init cleanup move notify'
            options='-h --help --version --json'
            takes='-c=file --config=file'
            ;;
        'list')
            options='-h --help --json --observed --history'
            takes='-c=file --config=file'
            ;;
        'show')
            options='-h --help --json'
            takes='-c=file --config=file'
            operands='account'
            ;;
        'check')
            options='-h --help --json'
            takes='-c=file --config=file --client-name=none'
            operands='account none'
            ;;
        'block')
            options='-h --help --json'
            takes='-c=file --config=file --reason=none'
            operands='account'
            ;;
        'forget')
            options='-h --help --json'
            takes='-c=file --config=file'
            operands='account'
            ;;
        'unblock')
            options='-h --help --json --release --delete --by-sender'
            takes='-c=file --config=file --exempt-for=none --reason=none --mail-config=folder'
            operands='account...'
            ;;
        'held')
            options='-h --help --json --settle'
            takes='-c=file --config=file --mail-config=folder'
            operands='account'
            ;;
        'exempt')
            commands='add list remove'
            options='-h --help --json'
            takes='-c=file --config=file'
            ;;
        'exempt add')
            options='-h --help --json'
            takes='-c=file --config=file --until=none --for=none --reason=none'
            operands='words:account,domain,client none'
            ;;
        'exempt list')
            options='-h --help --json'
            takes='-c=file --config=file'
            ;;
        'exempt remove')
            options='-h --help --json'
            takes='-c=file --config=file'
            operands='words:account,domain,client none'
            ;;
        'replay')
            options='-h --help --json --import'
            takes='-c=file --config=file --max-countries=none --window=none --learn=none'
            operands='file...'
            ;;
        'report')
            options='-h --help --json'
            takes='-c=file --config=file --since=none --html=file'
            ;;
        'country')
            commands='show update'
            options='-h --help --json'
            takes='-c=file --config=file'
            ;;
        'country show')
            options='-h --help --json'
            takes='-c=file --config=file'
            ;;
        'country update')
            options='-h --help --json --force'
            takes='-c=file --config=file'
            operands='file'
            ;;
        'stats')
            options='-h --help --json'
            takes='-c=file --config=file --prometheus=file%'
            ;;
        'doctor')
            options='-h --help --json'
            takes='-c=file --config=file --mail-config=folder'
            ;;
        'init')
            options='-h --help --json'
            takes='-c=file --config=file'
            ;;
        'cleanup')
            options='-h --help --json'
            takes='-c=file --config=file --days=none'
            ;;
        'move')
            options='-h --help --json'
            takes='-c=file --config=file'
            operands='none none'
            ;;
        'notify')
            options='-h --help --json --due'
            takes='-c=file --config=file'
            ;;
    esac
}

# Split the line up to the cursor into words as the shell would, but for all
# that it would have to evaluate: such a word counts as unknown.  Sets: words
# (the last one is the one to be completed), and of the last one: known, before
# (its value up to where readline begins to replace) and quote (what is open there).
_pcc_admin_split() {
    local line=$1 from=$2 word='' open='' begun='' i=0 character next
    words=() known=yes before='' quote=''
    while :; do
        if ((i == from)); then before=$word quote=$open; fi
        ((i < ${#line})) || break
        character=${line:i:1} next=${line:i+1:1}
        ((i += 1))
        case $open$character in
            [[:blank:]])
                if [[ $begun ]]; then
                    [[ $known ]] || word=$'\n' # which is no file and no command
                    words+=("$word")
                fi
                word='' begun='' known=yes
                continue
                ;;
            \'\' | '""') open='' ;;
            \' | '"') open=$character ;;
            '\')
                [[ $next ]] || known=''
                word+=$next
                ((i += 1))
                ;;
            '"\')
                case $next in
                    ['"\$`'])
                        word+=$next
                        ((i += 1))
                        ;;
                    *) word+='\' ;;
                esac
                ;;
            '$' | '`' | '"$' | '"`' | '!' | '"!') known='' word+=$character ;;
            *) word+=$character ;;
        esac
        begun=yes
    done
    words+=("$word")
}

# Add the words that begin with the one to be completed, quoted.
_pcc_admin_add() {
    local word rest current=${words[-1]}
    for word; do
        [[ $word && ${word:0:${#current}} == "$current" ]] || continue
        rest=${word:${#before}}
        case $quote in
            '')
                printf -v rest %q "$rest"
                [[ $rest != "''" ]] || rest=''
                ;;
            \') [[ $rest != *[\'[:cntrl:]]* ]] || continue ;;
            '"')
                [[ $rest != *[\![:cntrl:]]* ]] || continue
                rest=${rest//\\/\\\\}
                rest=${rest//\"/\\\"}
                rest=${rest//\$/\\\$}
                rest=${rest//\`/\\\`}
                ;;
        esac
        COMPREPLY+=("$rest")
    done
}

# Add the accounts that are blocked.  JSON has them on a line each, with what
# can't stand there escaped; printf %b knows these escapes, and runs nothing.
_pcc_admin_accounts() {
    local program=$1 line account accounts=()
    [[ $program != '~/'* ]] || program=$HOME/${program:2}
    [[ $config != '~/'* ]] || config=$HOME/${config:2}
    type -P -- "$program" >/dev/null || return 0
    while IFS= read -r line; do
        [[ $line =~ ^\ *\"account\":\ \"(.*)\",?$ ]] || continue
        printf -v account %b "${BASH_REMATCH[1]//\\\"/\\u0022}"
        # What begins with a dash is an option, unless they have ended.
        [[ $account == -* && ! $ended ]] || accounts+=("$account")
    done < <(command -- "$program" ${config:+--config "$config"} --json list 2>/dev/null </dev/null)
    _pcc_admin_add "${accounts[@]}"
}

# Complete a word of one kind: what has a name here, or one of words:these,words.
_pcc_admin_kind() {
    local choices
    case $1 in
        account) _pcc_admin_accounts "${words[0]}" ;;
        file) compopt -o default ;;
        folder) compopt -o dirnames ;;
        words:*)
            IFS=, read -ra choices <<<"${1#*:}"
            _pcc_admin_add "${choices[@]}"
            ;;
    esac
}

# Add the options of the command.
_pcc_admin_options() {
    local entry taking
    read -ra taking <<<"$takes"
    for entry in "${taking[@]}"; do
        options+=" ${entry%%=*}"
    done
    read -ra taking <<<"$options"
    _pcc_admin_add "${taking[@]}"
}

# Set kind to that of an option's argument, empty if it takes none; a % at its
# end means that the argument may be left out.
_pcc_admin_argument() {
    local entry taking
    kind=''
    read -ra taking <<<"$takes"
    for entry in "${taking[@]}"; do
        [[ $1 != "${entry%%=*}" ]] || kind=${entry#*=}
    done
}

# Go through the words before the cursor.  Sets path (the command), config,
# count (of operands), ended (the options have), and kind (the last option's).
_pcc_admin_read() {
    local word flag=''
    path='' config='' ended='' kind='' count=0
    _pcc_admin_grammar ''
    for word; do
        if [[ $kind && ($kind != *% || $word != -*) ]]; then
            [[ $flag != -c && $flag != --config ]] || config=$word
            kind=''
        elif [[ $ended || $word != -* ]]; then
            kind=''
            if [[ " $commands " == *" $word "* && $word != *[[:space:]]* ]]; then
                path=${path:+$path }$word
                _pcc_admin_grammar "$path"
            else
                ((count += 1))
            fi
        elif [[ $word == -- ]]; then
            kind='' ended=yes
        else
            flag=$word kind=''
            case $word in
                --config=*) config=${word#*=} ;;
                -c?*) config=${word#-c} ;;
                *) _pcc_admin_argument "$word" ;;
            esac
        fi
    done
}

# Complete the argument in --option=argument.
_pcc_admin_assigned() {
    local flag=${words[-1]%%=*}
    # Readline must have taken the option for a word of its own.
    [[ $before == "$flag="* ]] || return 0
    words[-1]=${words[-1]#*=} before=${before#*=}
    _pcc_admin_argument "$flag"
    _pcc_admin_kind "${kind%\%}"
}

# Complete an operand; the last kind may hold for all that follow.
_pcc_admin_operand() {
    local kinds
    read -ra kinds <<<"$operands"
    ((${#kinds[@]})) || return 0
    if ((count >= ${#kinds[@]})); then
        [[ ${kinds[-1]} == *... ]] || return 0
        count=$((${#kinds[@]} - 1))
    fi
    _pcc_admin_kind "${kinds[count]%...}"
}

_pcc_admin() {
    local IFS=$' \t\n' line=${COMP_LINE:0:COMP_POINT}
    local words known before quote commands options takes operands
    local path config ended kind count words_of
    COMPREPLY=()
    [[ $line == *"$2" ]] || return 0
    _pcc_admin_split "$line" $((${#line} - ${#2}))
    [[ $known ]] || return 0
    _pcc_admin_read "${words[@]:1:${#words[@]}-2}"
    if [[ $kind && ($kind != *% || ${words[-1]} != -*) ]]; then
        _pcc_admin_kind "${kind%\%}"
    elif [[ ${words[-1]} == --*=* && ! $ended ]]; then
        _pcc_admin_assigned
    elif [[ ${words[-1]} == -* && ! $ended ]]; then
        _pcc_admin_options
    elif [[ $commands ]]; then
        read -ra words_of <<<"$commands"
        _pcc_admin_add "${words_of[@]}"
    else
        _pcc_admin_operand
    fi
    return 0
}

complete -F _pcc_admin pcc_admin.py pcc_admin
