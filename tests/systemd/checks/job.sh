# shellcheck shell=bash disable=SC2154,SC2016,SC2119
# The whole job, and how well it is locked up meanwhile.

# whole_job VARIANT: pulls, answers, takes a dropped document to Tray, and answers what came of it.
whole_job() {
    local variant=$1 name="dropped in $1" secret value id
    inside systemctl start trayvault.service
    wait_until "a cycle succeeds" syncs
    value=$(a_value)
    secret=$(tray authentications |
        inside jq --raw-output --arg id "$(slack)" '.[] | select(.id == $id).credentials.accessToken')
    expect "what is read" "$secret" "$value"

    secret=xoxb-dropped-in-$variant-$(head -c 12 /dev/urandom | od -An -tx1 | tr -d ' \n')
    echo "$secret" >>"$last/.secrets"
    document "$name" "$secret" | in_unit importer.service importer trayvault drop - --name "$variant.json"
    local receipt=$root/var/spool/trayvault/done/$variant.json.receipt.json
    wait_until "there is a receipt" [ -e "$receipt" ]
    expect "the receipt" created "$(inside jq --raw-output .outcome <"$receipt")"
    id=$(tray authentications | inside jq --raw-output --arg name "$name" '.[] | select(.name == $name).id')
    [ -n "$id" ] || fail "Tray has no such authentication"
    wait_until "what was dropped can be read" inside trayvault get "$id" --field /credentials/accessToken
    expect "what was dropped" "$secret" "$(inside trayvault get "$id" --field /credentials/accessToken)"
    remember_secrets
}

syncs() {
    inside trayvault sync
}

document() {
    printf '{"version": 1, "action": "create", "name": "%s", "user": {"externalUserId": "acme-1"},
        "service": {"name": "slack", "version": 2}, "environment": "Production",
        "credentials": {"accessToken": "%s"}}' "$1" "$2"
}

# scores_at_most TENTHS: how exposed systemd says that the unit is as it stands there.
scores_at_most() {
    local overall
    overall=$(inside systemd-analyze security --no-pager trayvault.service | tail -n 1)
    note "${overall#* Overall exposure level for }"
    inside systemd-analyze security --no-pager --threshold="$1" trayvault.service >/dev/null || fail "$overall"
    # The file as it is shipped, which is the plain unit.
    inside systemd-analyze security --no-pager --offline=yes --threshold=13 /usr/lib/systemd/system/trayvault.service ||
        fail "the unit's file scores more than 1.3"
    is_active || fail "it is not active"
}

split_egress_scores() {
    with_drop_in split-egress.conf
    sed -i 's#^\[tray\]$#&\negress = "/run/trayvault-egress"#' "$root/opt/test/trayvault.toml"
    configure
    inside systemctl restart trayvault.service
    scores_at_most 5
}

split_egress_has_no_network() {
    local pid socket=/run/trayvault-egress/api.tray.io.sock
    pid=/proc/$(daemon_pid)
    [ "$(inside readlink "$pid/ns/net")" != "$(inside readlink /proc/1/ns/net)" ] || fail "it is in the host's network"
    # Besides a heading there is loopback, and that is not up.
    expect "routes" 1 "$(inside sed -n '$=' "$pid/net/route")"
    expect "its way out" "600 trayvault" "$(inside stat --format '%a %U' "$socket")"
    is_active trayvault-egress@api.tray.io.service || fail "the way to api.tray.io was not used"
    is_active trayvault-egress@tray.io.service || fail "the way to tray.io was not used"
    ! in_unit other.service importer socat -u OPEN:/dev/null UNIX-CONNECT:"$socket" || fail "others get out here"
}

# With another authority's certificate nothing is asked: who passes bytes on does not matter.
split_egress_ends_tls() {
    local asked
    cp "$root/opt/test/other-ca.pem" "$root/etc/trayvault/ca.pem"
    inside systemctl restart trayvault.service
    asked=$(tray state | inside jq --compact-output .requests)
    ! inside trayvault sync || fail "it talks to whoever has another authority's certificate"
    expect "what Tray was asked" "$asked" "$(tray state | inside jq --compact-output .requests)"
    cp "$root/opt/test/ca.pem" "$root/etc/trayvault/ca.pem"
    inside systemctl restart trayvault.service
    wait_until "a cycle succeeds" syncs
}

leave_split_egress() {
    without_drop_in split-egress.conf
    sed -i '/^egress = /d' "$root/opt/test/trayvault.toml"
    configure
    inside systemctl restart trayvault.service
}
