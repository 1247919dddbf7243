# shellcheck shell=bash disable=SC2154,SC2016,SC2119
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
    local pid doctor landlock
    doctor=$(inside trayvault doctor --json || true)
    kernel_has() {
        inside jq --exit-status "any(.[]; .subject == \"$1\" and .standing == \"good\")" <<<"$doctor" >/dev/null
    }
    if kernel_has memory; then
        in_journal 'keys and tokens are in memfd_secret memory' || fail "keys are not in memfd_secret memory"
    fi
    landlock=$(inside trayvault status --json | inside jq --raw-output .landlock)
    ! kernel_has Landlock || expect "Landlock" whole "$landlock"
    pid=$(daemon_pid)
    expect "its capabilities" 0000000000000000 "$(inside sed -n 's/^CapBnd:\t//p' "/proc/$pid/status")"
    expect "no new privileges" 1 "$(inside sed -n 's/^NoNewPrivs:\t//p' "/proc/$pid/status")"
    expect "seccomp" 2 "$(inside sed -n 's/^Seccomp:\t//p' "/proc/$pid/status")"
    note "Landlock: $landlock"
}

doctor_finds_nothing_wrong() {
    vault doctor
}

reload_puts_rules_in_force() {
    ! in_unit late.service late trayvault get "$(slack)" || fail "it reads before there is a rule"
    configure '[[access.rules]]' 'name = "late"' 'users = ["late"]' 'units = ["late.service"]' 'grants = ["read"]'
    local before digest
    before=$(daemon_pid)
    inside systemctl reload trayvault.service
    digest=$(sha256sum <"$root/etc/trayvault/trayvault.toml" | cut -d' ' -f1)
    wait_until "the log has the configuration's digest" reloaded "$digest"
    in_unit late.service late trayvault get "$(slack)"
    expect "the process" "$before" "$(daemon_pid)"
    configure
    inside systemctl reload trayvault.service
    wait_until "the rule is gone" late_is_refused
}

# reloaded DIGEST: whether a configuration of this digest was put in force.
reloaded() {
    entry ".action == \"daemon.reload\" and .outcome == \"done\" and .digest == \"$1\""
}

late_is_refused() {
    ! in_unit late.service late trayvault get "$(slack)"
}

# With systemd 253 and later: when `systemctl reload` returns, it is done.
reload_is_waited_for() {
    local version digest
    version=$(inside systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p')
    if [ "$version" -lt 253 ]; then
        note "not with systemd $version"
        return
    fi
    with_drop_in notify-reload.conf
    inside systemctl restart trayvault.service
    configure '# another digest'
    inside systemctl reload trayvault.service
    digest=$(sha256sum <"$root/etc/trayvault/trayvault.toml" | cut -d' ' -f1)
    reloaded "$digest" || fail "it was not waited for"
    configure
    without_drop_in notify-reload.conf
    inside systemctl restart trayvault.service
}

wrong_reload() {
    configure 'unknown = 1'
    inside systemctl reload trayvault.service
    wait_until "the failure is in the log" entry '.action == "daemon.reload" and .outcome == "failed"'
    # A client that is told where the socket is needs no configuration.
    local answer=0
    inside env TRAYVAULT_SOCKET=/run/trayvault/api.sock trayvault get "$(slack)" || answer=$?
    configure
    expect "what is answered" 0 "$answer"
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

# What is under way gets an answer, if only that the daemon is stopping, and no connection is cut off.
stop_drains() {
    local pulled=$last/.pulled planned=$last/.planned half=/run/half-request pulling planning
    # A pull that Tray takes its time for, and a request whose body has come by half.
    tray faults --json '{"call": "full_read", "kind": {"delay_ms": 4000}}'
    ask_for_pull
    document "half of it" xoxb-none >"$root/opt/test/half.json"
    inside sh /opt/test/half-request /opt/test/half.json "$half" >"$planned" &
    planning=$!
    wait_until "Tray is asked" tray_is_asked
    wait_until "half a request is sent" inside test -e "$half"
    inside systemctl stop trayvault.service
    wait "$pulling" "$planning"
    local answer
    for answer in "$pulled" "$planned"; do
        head -n 1 "$answer" | grep -E '^HTTP/1.1 (200|503) ' || fail "a request was cut off"
        head -n 1 "$answer" | grep ' 200 ' || grep '"code":"stopping"' "$answer" || fail "$(head -n 1 "$answer")"
    done
    expect "its result" success "$(property Result)"
    expect "the last entry" daemon.stop "$(entries | tail -n 1 | inside jq --raw-output .action)"
    inside systemctl start trayvault.service
}

ask_for_pull() {
    inside curl --silent --max-time 60 --include --request POST --unix-socket /run/trayvault/api.sock \
        "http://trayvault/v1/authentications/$(slack)/refresh" >"$pulled" &
    pulling=$!
}

# What was pulled within this second, as after a start, is answered without Tray: then it is asked for again.
tray_is_asked() {
    [ "$(tray state | inside jq .faults)" != 0 ] || return 0
    kill -0 "$pulling" || ask_for_pull
    return 1
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
