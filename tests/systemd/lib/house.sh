# shellcheck shell=bash disable=SC2154,SC2016,SC2119
# The daemon's house in the container.

# in_unit UNIT USER COMMAND...: as a unit of that name.
in_unit() {
    local unit=$1 user=$2
    shift 2
    inside systemd-run --quiet --wait --pipe --collect --unit="$unit" --uid="$user" -- "$@"
}

# A command that opens the vault, beside the daemon or without it.
vault() {
    inside systemd-run --quiet --wait --pipe --collect --uid=trayvault \
        --property=StateDirectory=trayvault --property=StateDirectoryMode=0700 \
        --property=LoadCredential=vault.key:/etc/trayvault/vault.key \
        --property=LoadCredential=master.token:/etc/trayvault/master.token -- trayvault "$@"
}

# Takes the emulator's word: tray PATH [curl's options].
tray() {
    local path=$1
    shift
    inside curl --silent --show-error --fail --max-time 30 "$@" "http://127.0.0.1:8099/_emulator/$path"
}

tray_up() {
    inside systemctl start tray.service
    wait_until "the emulator answers" tray state --output /dev/null
    wait_until "TLS in front of it answers" \
        inside curl --silent --cacert /opt/test/ca.pem --output /dev/null https://api.tray.io/_emulator/state
}

# Everything that must not come out, as far as it is known now.
remember_secrets() {
    tray secrets | inside jq --raw-output '.[]' >>"$last/.secrets"
}

tray_down() {
    remember_secrets
    inside systemctl stop tray.service
}

# The configuration, with more behind it.
# shellcheck disable=SC2120
configure() {
    local config=$root/etc/trayvault/trayvault.toml
    sed "s/@SLACK@/$(slack)/" "$root/opt/test/trayvault.toml" >"$config"
    printf '%s\n' "$@" >>"$config"
}

# Enters a drop-in of the package's, or takes it away.
with_drop_in() {
    mkdir -p "$root/etc/systemd/system/trayvault.service.d"
    cp "$root/usr/share/trayvault/systemd/$1" "$root/etc/systemd/system/trayvault.service.d/"
    inside systemctl daemon-reload
}

without_drop_in() {
    rm -f "$root/etc/systemd/system/trayvault.service.d/$1"
    inside systemctl daemon-reload
}

property() {
    inside systemctl show --property="$1" --value "${2:-trayvault.service}"
}

# shellcheck disable=SC2120
is_active() {
    inside systemctl is-active --quiet "${1:-trayvault.service}"
}

# What the kernel says of the daemon's start: another one is another process.
daemon_pid() {
    property MainPID
}

is_another_daemon() {
    local pid
    pid=$(daemon_pid)
    is_active trayvault.service && [ "$pid" -ne 0 ] && [ "$pid" -ne "$1" ]
}

# Whether the journal since the last boot has this in a message.
in_journal() {
    inside journalctl --boot --output=cat | grep --fixed-strings -e "$1" >/dev/null
}

slack() {
    cat "$root/opt/test/slack.id"
}

reads() {
    inside trayvault get "$(slack)"
}

a_value() {
    inside trayvault get "$(slack)" --field /credentials/accessToken
}

# The entries of the log that are there, as JSON lines.
entries() {
    cat "$root"/var/lib/trayvault/audit/audit*.jsonl
}

# entry FILTER: whether there is one that jq's filter is true of.
entry() {
    entries | inside jq --exit-status --slurp "any(.[]; $1)" >/dev/null
}

set_up_vault() {
    inside systemctl start tray.service
    wait_until "the emulator answers" tray state --output /dev/null
    tray authentications | inside jq --raw-output 'first(.[] | select(.service == "slack")).id' \
        >"$root/opt/test/slack.id"
    install -m 600 /dev/null "$root/etc/trayvault/master.token"
    tray tokens | inside jq --join-output .master >"$root/etc/trayvault/master.token"
    tray_down
    install -m 600 /dev/null "$root/etc/trayvault/vault.key"
    head -c 32 /dev/urandom >"$root/etc/trayvault/vault.key"
    cp "$root/opt/test/ca.pem" "$root/etc/trayvault/ca.pem"
    inside usermod --append --groups trayvault-drop importer
    configure ''
    vault init
}
