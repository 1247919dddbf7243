# shellcheck shell=bash disable=SC2154,SC2016,SC2119
# The package, from its first installation to its purge.

package_installs_and_starts_nothing() {
    inside dpkg --install /opt/test/trayvault.deb
    expect "the package" "install ok installed" "$(inside dpkg-query --show --showformat '${Status}' trayvault)"
    inside getent passwd trayvault
    inside id --name --groups trayvault | grep -w trayvault-drop || fail "the daemon's user is not in trayvault-drop"
    expect "the drop directory" "3730 trayvault trayvault-drop" \
        "$(inside stat --format '%a %U %G' /var/spool/trayvault/tmp)"
    expect "the configuration" "644 root root" "$(inside stat --format '%a %U %G' /etc/trayvault/trayvault.toml)"
    local unit
    for unit in trayvault.service trayvault.socket trayvault-credentials.socket; do
        expect "$unit is" disabled "$(inside systemctl is-enabled "$unit" || true)"
        expect "$unit is" inactive "$(inside systemctl is-active "$unit" || true)"
    done
    inside systemd-analyze verify --man=no trayvault.service trayvault.socket trayvault-credentials.socket \
        trayvault-egress@tray.io.socket trayvault-egress@tray.io.service
}

package_holds_no_secret() {
    [ ! -e "$root/var/lib/trayvault" ] || fail "there is a vault already"
    expect "in /etc/trayvault" trayvault.toml "$(ls "$root/etc/trayvault")"
    # A package of a build for development has it, and is none to be handed out.
    if inside trayvault emulator --help >/dev/null 2>&1; then
        [ "${TRAYVAULT_SYSTEMD_TEST:-}" != required ] || fail "the program in the package has the emulator"
        note "with the emulator: not a build for a release"
    fi
}

package_upgrades() {
    local before sum
    before=$(daemon_pid)
    sum=$(sha256sum <"$root/etc/trayvault/trayvault.toml")
    # The same once more is an upgrade to dpkg.
    inside dpkg --install /opt/test/trayvault.deb
    wait_until "the new program runs" is_another_daemon "$before"
    expect "the configuration" "$sum" "$(sha256sum <"$root/etc/trayvault/trayvault.toml")"
    reads
}

package_purged() {
    inside dpkg --remove trayvault
    expect "the daemon is" inactive "$(inside systemctl is-active trayvault.service || true)"
    expect "the socket is" inactive "$(inside systemctl is-active trayvault.socket || true)"
    [ ! -e "$root/usr/bin/trayvault" ] || fail "the program is there still"
    [ -e "$root/etc/trayvault/trayvault.toml" ] || fail "a removal took the configuration away"
    inside dpkg --purge trayvault 2>&1 | grep '/var/lib/trayvault is not empty and was kept' ||
        fail "nobody is told that the vault was kept"
    [ -e "$root/var/lib/trayvault/audit/audit.jsonl" ] || fail "the vault is gone"
    [ ! -e "$root/etc/trayvault/trayvault.toml" ] || fail "the configuration is there still"
    [ -e "$root/etc/trayvault/vault.key" ] || fail "the key is gone"
    local left
    left=$(find "$root/etc/systemd/system" -name 'trayvault*' ! -name '*.d')
    [ -z "$left" ] || fail "left behind: $left"
}
