# shellcheck shell=bash disable=SC2154,SC2016,SC2119
# The container: booted, entered and shut down.

nspawn='' leader='' root=''

boot() {
    in_cgroup2 systemd-nspawn --quiet --boot --register=no --keep-unit --private-network \
        --console=pipe --machine=trayvault-test --directory="$root" \
        --system-call-filter='bpf memfd_secret landlock_create_ruleset landlock_add_rule landlock_restrict_self' \
        >>"$last/nspawn.log" 2>&1 </dev/null &
    nspawn=$!
    local end=$((SECONDS + 90))
    until is_booted; do
        if ! kill -0 "$nspawn" 2>/dev/null || [ $SECONDS -ge $end ]; then
            skip "systemd-nspawn boots nothing here: $(tail -n 1 "$last/nspawn.log")"
        fi
        sleep 0.2
    done
}

is_booted() {
    # systemd-nspawn's child is the container's first process.
    leader=$(pgrep --parent "$nspawn" --newest 2>/dev/null) || return 1
    local state
    state=$(inside systemctl is-system-running 2>/dev/null) || [ "$state" = degraded ]
}

# Runs a command in the container, as root, in none of its units.
inside() {
    nsenter --all --target "$leader" -- env --ignore-environment PATH=/usr/sbin:/usr/bin LANG=C.UTF-8 HOME=/root "$@"
}

shut_down() {
    [ -n "$nspawn" ] || return 0
    if [ -n "$leader" ] && kill -0 "$nspawn" 2>/dev/null; then
        inside systemctl poweroff --no-wall >/dev/null 2>&1 || true
        local end=$((SECONDS + 60))
        while kill -0 "$nspawn" 2>/dev/null && [ $SECONDS -lt $end ]; do sleep 0.2; done
    fi
    # Whatever is left of it; it is called after systemd-nspawn's process.
    find /sys/fs/cgroup -maxdepth 3 -path "*/trayvault-test-$nspawn/cgroup.kill" -exec sh -c 'echo 1 >"$1"' sh {} \;
    wait "$nspawn" 2>/dev/null || true
    forget_groups "$nspawn"
    nspawn='' leader=''
}

clean_up() {
    local code=$?
    trap - EXIT INT TERM
    set +e
    [ -z "$leader" ] || inside journalctl --no-pager --all >"$last/journal.log" 2>/dev/null
    shut_down
    [ -z "$root" ] || rm -rf --one-file-system "$root"
    exit "$code"
}
