# shellcheck shell=bash disable=SC2154,SC2016,SC2119
# What is checked, and how it came out.

passed=0
failed=0

# check NAME COMMAND...: runs it by itself, and goes on however it ends.
check() {
    local name=$1 code
    shift
    log=$last/$name.log
    reason=$last/.reason
    rm -f "$reason"
    set +e
    (
        set -eE
        trap 'why "this failed: $(line_of_check)"' ERR
        set -x
        "$@"
    ) >"$log" 2>&1 </dev/null
    code=$?
    set -e
    if [ "$code" -eq 0 ]; then
        passed=$((passed + 1))
        echo "ok $name$(cat "$last/.note" 2>/dev/null || true)"
    else
        failed=$((failed + 1))
        echo "FAILED $name: $(head -n 1 "$reason" 2>/dev/null || echo "it ended with $code") (see $log)"
    fi
    rm -f "$last/.note"
}

# The line of a check that is being run, and where it is.
line_of_check() {
    local frame
    for frame in "${!BASH_SOURCE[@]}"; do
        [[ ${BASH_SOURCE[frame]} == */checks/* ]] || continue
        local line=${BASH_LINENO[frame - 1]} file=${BASH_SOURCE[frame]}
        echo "$(sed -n "${line}s/^ *//p" "$file") (${file##*/}:$line)"
        return
    done
}

# The first reason is the one.
why() {
    [ -e "$reason" ] || echo "$*" >"$reason"
}

fail() {
    why "$*"
    exit 1
}

# Something to be seen beside a check that is passed.
note() {
    echo " ($*)" >"$last/.note"
}

# wait_until WHAT COMMAND...: nothing is timed; the limit is reached by a failure only.
wait_until() {
    local what=$1 end=$((SECONDS + 90))
    shift
    until "$@"; do
        [ $SECONDS -lt $end ] || fail "in vain: waited until $what"
        sleep 0.2
    done
}

expect() {
    [ "$2" = "$3" ] || fail "$1: expected '$2', got '$3'"
}

# What needs no check of its own and has to work for the others.
must() {
    local log=$last/set-up.log
    "$@" >>"$log" 2>&1 </dev/null || {
        echo "FAILED set-up: $* (see $log)"
        exit 1
    }
}

finish() {
    echo "$passed passed, $failed failed"
    [ "$failed" -eq 0 ]
}
