# shellcheck shell=bash disable=SC2154,SC2016,SC2119
# Who gets what, by its unit, its process and its user.

unit_gets_credential() {
    inside systemctl start consumer.service
    expect "the whole of it" "$(reads | inside jq --sort-keys .)" "$(inside jq --sort-keys . /run/consumer/slack.json)"
    expect "a value" "$(a_value)" "$(inside cat /run/consumer/token)"
    # systemd 252 has 400, later ones have 440, by an entry for the user: whoever else there is has nothing.
    inside stat --format %a /run/consumer/token | grep '^4[04]0$' || fail "the credential's mode is for others"
    # systemd can't be told why not: the file is empty.
    inside systemctl start stranger.service
    expect "what another unit gets" 0 "$(inside stat --format %s /run/stranger/slack.json)"
    entry '.action == "credential.load" and .outcome == "done" and .actor.unit == "consumer.service"' ||
        fail "the log has no entry of the unit that got it"
    entry '.action == "credential.load" and .outcome == "refused" and .actor.unit == "stranger.service"' ||
        fail "the log has no entry of the unit that was refused"
    # Nobody but root has anything to ask there, and root is not systemd.
    ! in_unit other.service reader socat -u UNIX-CONNECT:/run/trayvault/credentials.sock - || fail "others may connect"
    expect "what root gets that is not systemd" "" "$(inside socat -u UNIX-CONNECT:/run/trayvault/credentials.sock -)"
}

access_by_unit() {
    in_unit reader.service reader trayvault get "$(slack)"
    refused other.service reader trayvault get "$(slack)"
    refused reader.service late trayvault get "$(slack)"
    entry '.action == "authentication.read" and .outcome == "done" and .actor.unit == "reader.service"
        and .rule == "reader in its unit"' || fail "the log has no entry of the read"
    entry '.action == "authentication.read" and .outcome == "refused" and .actor.unit == "other.service"' ||
        fail "the log has no entry of the refusal"
}

# refused UNIT USER COMMAND...
refused() {
    local code=0
    in_unit "$@" || code=$?
    expect "the exit code of $*" 77 "$code"
}

guard_by_process() {
    # A rule grants it to the user, and the same program under another name has it.
    in_unit something.service agent trayvault get "$(slack)"
    inside cp /usr/bin/trayvault /opt/test/agent-linux-amd64
    refused something.service agent /opt/test/agent-linux-amd64 get "$(slack)"
    entry '.action == "authentication.read" and .outcome == "refused" and .actor.unit == "something.service"
        and (.reason | test("workflow"))' || fail "the log has no entry of the guard"
}

guard_by_control_group() {
    inside cp /bin/sleep /opt/test/agent-linux-amd64
    inside systemctl start agent.service
    expect "the exit code beside an agent" 77 "$(inside cat /run/agent/code)"
    expect "what is read beside an agent" "" "$(inside cat /run/agent/got)"
}

delivers_by_rename() {
    local drop=/var/spool/trayvault secret
    secret=xoxb-by-hand-$(head -c 12 /dev/urandom | od -An -tx1 | tr -d ' \n')
    echo "$secret" >>"$last/.secrets"
    # shellcheck disable=SC2016
    document "dropped by hand" "$secret" |
        in_unit importer.service importer \
            sh -c 'umask 027; cat >"$1/tmp/hand.json" && mv "$1/tmp/hand.json" "$1/"' sh "$drop"
    wait_until "there is a receipt" [ -e "$root$drop/done/hand.json.receipt.json" ]
    expect "the receipt" created "$(inside jq --raw-output .outcome "$drop/done/hand.json.receipt.json")"
    [ ! -e "$root$drop/hand.json" ] || fail "the file is there still"
    ! in_unit importer.service importer ls "$drop" || fail "one who delivers sees what others did"
    ! in_unit importer.service importer cat "$drop/done/hand.json.receipt.json" || fail "receipts are for anybody"
    ! in_unit reader.service reader sh -c "echo >$drop/foreign.json" || fail "one who is not in the group delivers"
    remember_secrets
}
