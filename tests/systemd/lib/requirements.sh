# shellcheck shell=bash disable=SC2154,SC2016,SC2119
# What the host must have.

newest_package() {
    local newest
    newest=$(find "$target/debian" -maxdepth 1 -name 'trayvault_*.deb' -printf '%T@ %p\n' 2>/dev/null |
        sort -n | tail -n 1)
    echo "${newest#* }"
}

skip() {
    if [ "${TRAYVAULT_SYSTEMD_TEST:-}" = required ]; then
        echo "FAILED: can't run here: $*"
        exit 1
    fi
    echo "skipped: $*"
    exit 0
}

require_host() {
    [ "$(id -u)" -eq 0 ] || skip "not root"
    local wanted=()
    command -v debootstrap >/dev/null || wanted+=(debootstrap)
    command -v systemd-nspawn >/dev/null || wanted+=(systemd-container)
    if [ "${#wanted[@]}" -gt 0 ]; then
        command -v apt-get >/dev/null || skip "no ${wanted[*]}, and no apt-get"
        { apt-get update && apt-get install --yes --no-install-recommends "${wanted[@]}"; } >/dev/null 2>&1 ||
            skip "${wanted[*]} can't be installed"
    fi
    unshare --mount --pid --ipc --uts --net --fork true 2>/dev/null || skip "no namespaces"
    in_cgroup2 true 2>/dev/null &
    local trial=$! works=true
    wait "$trial" || works=false
    forget_groups "$trial"
    "$works" || skip "no control groups of version 2"
}

require_files() {
    [ -f "$package" ] || skip "no package: cargo deb, or name one"
    "$emulator" emulator --help >/dev/null 2>&1 || skip "no emulator: cargo build, or TRAYVAULT_EMULATOR"
}

forget_groups() {
    find /sys/fs/cgroup -depth -type d -path "*/trayvault-test-$1*" -exec rmdir {} + 2>/dev/null || true
}

# Runs a command where /sys/fs/cgroup is the unified hierarchy alone, in a control group of its own. systemd-nspawn goes
# by what it finds there, and a host may have version 1 beside it. For a shell of its own, in whose place it is.
in_cgroup2() {
    # shellcheck disable=SC2016
    exec unshare --mount --propagation private bash -c '
        set -e
        while mountpoint -q /sys/fs/cgroup; do umount --recursive --lazy /sys/fs/cgroup; done
        mount -t cgroup2 cgroup2 /sys/fs/cgroup
        group=/sys/fs/cgroup/trayvault-test-$$
        mkdir "$group"
        echo $$ >"$group/cgroup.procs"
        exec "$@"' in_cgroup2 "$@"
}
