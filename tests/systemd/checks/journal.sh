# shellcheck shell=bash disable=SC2154,SC2016,SC2119
# What the journal has, and what it must not have.

journal_has_fields() {
    local read field
    read=$(inside journalctl --output=json --lines=1 TRAYVAULT_ACTION=authentication.read \
        TRAYVAULT_CALLER_UNIT=reader.service TRAYVAULT_DECISION=done)
    for field in MESSAGE_ID TRAYVAULT_AUDIT_SEQUENCE TRAYVAULT_AUTHENTICATION_ID TRAYVAULT_CALLER_UID \
        TRAYVAULT_REQUEST_ID TRAYVAULT_RULE; do
        [ -n "$(inside jq --raw-output ".$field // empty" <<<"$read")" ] || fail "a read has no field $field"
    done
    expect "the unit that said so" trayvault.service "$(inside jq --raw-output ._SYSTEMD_UNIT <<<"$read")"
    [ -n "$(inside journalctl --output=cat TRAYVAULT_ACTION=credential.load TRAYVAULT_DECISION=refused)" ] ||
        fail "a refused credential is not found by its fields"
}

# All that was ever secret, in plain, in hexadecimal and in base64, wherever that begins.
journal_has_no_secret() {
    remember_secrets
    {
        cat "$last/.secrets" "$root/etc/trayvault/master.token"
        echo
    } | sort -u | grep . >"$last/.all"
    local journal=$last/.journal patterns=$last/.patterns line
    while IFS= read -r line; do
        forms <<<"$line"
    done <"$last/.all" >"$patterns"
    # The key is bytes.
    {
        od -An -v -tx1 "$root/etc/trayvault/vault.key" | tr -d ' \n'
        echo
        base64 --wrap=0 "$root/etc/trayvault/vault.key" | cut -c 1-40
    } >>"$patterns"
    inside journalctl --all --output=export >"$journal"
    # The search finds what is there.
    (cat "$journal" && printf 'MESSAGE=a %s b\n' "$(tail -n 1 "$last/.all" | base64)") >"$journal.planted"
    grep --text --quiet --fixed-strings --ignore-case --file="$patterns" "$journal.planted" ||
        fail "the search finds nothing"
    rm "$journal.planted"
    local found
    found=$(grep --text --count --fixed-strings --ignore-case --file="$patterns" "$journal" || true)
    expect "lines with a secret" 0 "$found"
    note "$(wc -l <"$last/.all") secrets in $(wc -l <"$patterns") forms, $(wc -c <"$journal") bytes of journal"
}

# Whatever of a line can't depend on what is around it.
forms() {
    local text padding encoded
    IFS= read -r text
    echo "$text"
    printf %s "$text" | od -An -v -tx1 | tr -d ' \n'
    echo
    for padding in "" . ..; do
        encoded=$(printf '%s%s' "$padding" "$text" | base64 --wrap=0 | tr -d =)
        # The first and last characters have bits of what is around them.
        case ${#padding} in 0) ;; 1) encoded=${encoded:2} ;; 2) encoded=${encoded:3} ;; esac
        echo "${encoded:0:${#encoded}-1}"
    done
}
