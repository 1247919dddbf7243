# shellcheck shell=bash disable=SC2154,SC2016,SC2119
# With systemd's sockets and without them; key and token encrypted.

encrypted_credentials() {
    local name etc=$root/etc/trayvault
    for name in vault.key master.token; do
        inside systemd-creds encrypt --with-key=host --name="$name" "/etc/trayvault/$name" "/etc/trayvault/$name.cred"
        mv "$etc/$name" "$etc/$name.away"
    done
    with_drop_in encrypted-credentials.conf
    inside systemctl restart trayvault.service
    reads
    inside trayvault sync
    without_drop_in encrypted-credentials.conf
    for name in vault.key master.token; do
        mv "$etc/$name.away" "$etc/$name"
        rm "$etc/$name.cred"
    done
    inside systemctl restart trayvault.service
}

socket_activation() {
    inside systemctl stop trayvault.service
    is_active trayvault.socket || fail "api.sock went with the daemon"
    is_active trayvault-credentials.socket || fail "credentials.sock went with the daemon"
    expect "api.sock" "666 root" "$(inside stat --format '%a %U' /run/trayvault/api.sock)"
    expect "credentials.sock" "600 root" "$(inside stat --format '%a %U' /run/trayvault/credentials.sock)"
    expect "their directory" "755 root" "$(inside stat --format '%a %U' /run/trayvault)"
    ! is_active || fail "the daemon runs"
    reads
    is_active || fail "it was not started"
    # By the other socket: a unit waits for its credential.
    inside systemctl stop trayvault.service
    inside systemctl start consumer.service
    expect "a value" "$(a_value)" "$(inside cat /run/consumer/token)"
    in_journal "the sockets are systemd's" || fail "the daemon has other sockets"
}

own_sockets() {
    with_drop_in own-sockets.conf
    inside systemctl mask --now trayvault.socket trayvault-credentials.socket
    inside systemctl restart trayvault.service
    in_journal "the sockets are the daemon's own" || fail "they are systemd's still"
    expect "api.sock" "trayvault" "$(inside stat --format %U /run/trayvault/api.sock)"
    expect "credentials.sock" "600 trayvault" "$(inside stat --format '%a %U' /run/trayvault/credentials.sock)"
    reads
    inside systemctl start consumer.service
    expect "a value" "$(a_value)" "$(inside cat /run/consumer/token)"
    # And back: stopped first, so that its directory goes with it.
    inside systemctl stop trayvault.service
    without_drop_in own-sockets.conf
    inside systemctl unmask trayvault.socket trayvault-credentials.socket
    inside systemctl start trayvault.service
    expect "their directory" "755 root" "$(inside stat --format '%a %U' /run/trayvault)"
    reads
}
