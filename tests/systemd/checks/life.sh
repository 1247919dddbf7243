# From a start to an end, and what goes wrong between.

starts_without_tray() {
    ! is_active tray.service || fail "the emulator runs"
    # It returns when the daemon said that it is ready.
    inside systemctl start trayvault.service
    is_active || fail "it is not active"
    expect "its notify access" main "$(property NotifyAccess)"
    inside trayvault status
    wait_until "its status text has counts" status_has_counts
    expect "the API" 200 "$(inside curl --silent --output /dev/null --write-out '%{http_code}' \
        --unix-socket /run/trayvault/api.sock http://trayvault/v1/health/ready)"
}

status_has_counts() {
    property StatusText | grep -E '^[0-9]+ of [0-9]+ authentications' >/dev/null
}

boots_to_active() {
    expect "the socket, enabled with it, is" enabled "$(inside systemctl is-enabled trayvault.socket)"
    wait_until "it is active" is_active
    expect "failed units" "" "$(inside systemctl list-units --failed --plain --no-legend)"
}

kernel_protections_are_used() {
    local said
    said=$(inside journalctl --unit=trayvault.service --boot --output=cat)
    grep -q 'keys and tokens are in memfd_secret memory' <<<"$said" || fail "keys are not in memfd_secret memory"
    note "$(inside trayvault status --json | inside jq --compact-output '{sandbox}')"
    local pid
    pid=$(daemon_pid)
    expect "its capabilities" 0000000000000000 "$(inside sed -n 's/^CapBnd:\t//p' "/proc/$pid/status")"
    expect "new privileges" 1 "$(inside sed -n 's/^NoNewPrivs:\t//p' "/proc/$pid/status")"
    expect "seccomp" 2 "$(inside sed -n 's/^Seccomp:\t//p' "/proc/$pid/status")"
}

reload_puts_rules_in_force() {
    ! in_unit late.service late trayvault get "$(slack)" || fail "it reads before there is a rule"
    configure '[[access.rules]]' 'name = "late"' 'users = ["late"]' 'units = ["late.service"]' 'grants = ["read"]'
    local before digest
    before=$(daemon_pid)
    inside systemctl reload trayvault.service
    digest=$(sha256sum <"$root/etc/trayvault/trayvault.toml" | cut -d' ' -f1)
    wait_until "the log has the configuration's digest" \
        entry ".action == \"daemon.reload\" and .outcome == \"done\" and .digest == \"$digest\""
    in_unit late.service late trayvault get "$(slack)"
    expect "the process" "$before" "$(daemon_pid)"
    configure
    inside systemctl reload trayvault.service
    wait_until "the rule is gone" late_is_refused
}

late_is_refused() {
    ! in_unit late.service late trayvault get "$(slack)"
}

wrong_reload() {
    configure 'unknown = 1'
    inside systemctl reload trayvault.service || true
    wait_until "the failure is in the log" entry '.action == "daemon.reload" and .outcome == "failed"'
    is_active || fail "it is not active"
    reads
    configure
    inside systemctl reload trayvault.service
}

restart_keeps_cache() {
    local before pid
    before=$(reads)
    tray_down
    pid=$(daemon_pid)
    inside systemctl restart trayvault.service
    is_another_daemon "$pid" || fail "it is the same process"
    expect "what is read" "$before" "$(reads)"
    tray_up
}

watchdog() {
    inside mkdir -p /run/systemd/system/trayvault.service.d
    inside sh -c 'printf "[Service]\nWatchdogSec=10\n" >/run/systemd/system/trayvault.service.d/watchdog.conf'
    inside systemctl daemon-reload
    inside systemctl restart trayvault.service
    local pid restarts
    pid=$(daemon_pid)
    restarts=$(property NRestarts)
    # It is fed: it outlives its time twice.
    sleep 21
    expect "the process" "$pid" "$(daemon_pid)"
    inside kill -STOP "$pid"
    wait_until "there is another daemon" is_another_daemon "$pid"
    expect "restarts" $((restarts + 1)) "$(property NRestarts)"
    in_journal 'trayvault.service: Watchdog timeout' || fail "it was not the watchdog"
    reads
    inside rm /run/systemd/system/trayvault.service.d/watchdog.conf
    inside systemctl daemon-reload
}

kill_9() {
    local before pid
    before=$(reads)
    pid=$(daemon_pid)
    inside systemctl kill --signal=KILL trayvault.service
    wait_until "there is another daemon" is_another_daemon "$pid"
    expect "what is read" "$before" "$(reads)"
    vault audit verify
}

stop_drains() {
    local answer=$last/.answer
    # The pull that the request leads to is held up.
    tray faults --json '{"call": "full_read", "kind": {"delay_ms": 4000}}'
    inside curl --silent --max-time 60 --output /dev/null --write-out '%{http_code}' --request POST \
        --unix-socket /run/trayvault/api.sock "http://trayvault/v1/authentications/$(slack)/refresh" >"$answer" &
    local client=$!
    wait_until "Tray is asked" fault_has_struck
    inside systemctl stop trayvault.service
    wait "$client" || fail "the client has no answer"
    expect "the answer" 200 "$(cat "$answer")"
    expect "its result" success "$(property Result)"
    expect "the last entry" daemon.stop "$(entries | tail -n 1 | inside jq --raw-output .action)"
    inside systemctl start trayvault.service
}

fault_has_struck() {
    [ "$(tray state | inside jq .faults)" = 0 ]
}

anchors() {
    wait_until "the program has an anchor" has_anchor
    local anchor
    anchor=$(inside journalctl --identifier=anchor --output=cat | tail -n 1)
    vault audit verify --anchor "$(inside jq --raw-output '"\(.seq):\(.mac)"' <<<"$anchor")"
    inside journalctl TRAYVAULT_ACTION=audit.anchor --output=json --lines=1 | grep TRAYVAULT_AUDIT_MAC >/dev/null ||
        fail "no anchor in the journal"
}

has_anchor() {
    inside journalctl --identifier=anchor --output=cat | grep '"mac"' >/dev/null
}

audit_verifies() {
    vault audit verify
}
