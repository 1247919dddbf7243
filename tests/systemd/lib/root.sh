# shellcheck shell=bash disable=SC2154,SC2016,SC2119
# The Debian root: made once, copied for each run.

release=${DEBIAN_RELEASE:-bookworm}
root_packages=systemd,systemd-sysv,dbus,ca-certificates,openssl,socat,curl,jq,procps
# Whatever makes another root gives it another name.
base=$work/$release-1

make_base_root() {
    [ ! -d "$base" ] || return 0
    echo "making a Debian $release in $base"
    rm -rf "$base.new"
    debootstrap --variant=minbase --include="$root_packages" "$release" "$base.new" \
        ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"} >"$work/debootstrap.log" 2>&1 || {
        rm -rf "$base.new"
        skip "debootstrap failed: $(tail -n 1 "$work/debootstrap.log")"
    }
    rm -rf "$base.new"/var/cache/apt/archives/*.deb "$base.new/etc/machine-id"
    mv "$base.new" "$base"
}

fill_root() {
    root=$work/root.$$
    cp -a --reflink=auto "$base" "$root"
    : >"$root/etc/machine-id"
    echo trayvault-test >"$root/etc/hostname"
    printf '127.0.0.1 localhost trayvault-test api.tray.io tray.io\n' >"$root/etc/hosts"
    mkdir -p "$root/opt/test" "$root/etc/systemd/journald.conf.d"
    cp "$emulator" "$root/opt/test/tray"
    cp "$package" "$root/opt/test/trayvault.deb"
    cp "$here"/files/{trayvault.toml,half-request} "$root/opt/test/"
    cp "$here"/files/*.service "$root/etc/systemd/system/"
    # All of it is searched at the end.
    printf '[Journal]\nStorage=persistent\nRateLimitIntervalSec=0\nMaxLevelStore=debug\n' \
        >"$root/etc/systemd/journald.conf.d/test.conf"
    make_certificates
    local user
    for user in reader late importer agent; do
        chroot "$root" useradd --system --user-group "$user"
    done
}

# Tray's hosts, as they look from in there.
make_certificates() {
    chroot "$root" sh -ec '
        cd /opt/test
        for ca in ca other-ca; do
            openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "/CN=$ca" \
                -addext basicConstraints=critical,CA:TRUE -addext keyUsage=keyCertSign -keyout $ca.key -out $ca.pem
        done
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=tray.io -keyout tls.key -out tls.csr
        printf "subjectAltName=DNS:tray.io,DNS:api.tray.io\nbasicConstraints=CA:FALSE\n" >tls.ext
        openssl x509 -req -in tls.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile tls.ext -out tls.pem
    ' >"$last/certificates.log" 2>&1
}
