# Three hosts on one machine for tests of mpirun: network and host name namespaces on one bridge. To be sourced.
# Needs root. `work`: a folder of the test's own; `id`: a word for the names of the namespaces.
hosts=(a b c)

skip() {
    echo "SKIPPED: $*"
    exit 4
}

# Ends the test with code 4 where hosts cannot be made. $1: the program's folder.
make_hosts_or_skip() {
    [ "$(id -u)" = 0 ] || skip "network namespaces need root"
    command -v ip >/dev/null || skip "there is no ip (iproute2)"
    command -v mpirun >/dev/null || skip "there is no mpirun"
    [ -e "$1/trainer_mpi.so" ] || skip "the program was built without MPI"
    make_hosts 2>"$work/reason" || skip "this machine gives no network namespaces: $(cat "$work/reason")"
    write_agent
}

make_hosts() {
    local number=1 host
    ip netns add "$id-bridge"
    ip -n "$id-bridge" link add hub type bridge
    ip -n "$id-bridge" link set hub up
    for host in "${hosts[@]}"; do
        ip netns add "$id-$host"
        ip -n "$id-$host" link set lo up
        ip -n "$id-bridge" link add "port-$host" type veth peer name eth0 netns "$id-$host"
        ip -n "$id-bridge" link set "port-$host" master hub up
        ip -n "$id-$host" address add "10.99.7.$number/24" dev eth0
        ip -n "$id-$host" link set eth0 up
        number=$((number + 1))
    done
}

remove_hosts() {
    local host
    for host in "${hosts[@]}" bridge; do ip netns delete "$id-$host" 2>/dev/null || true; done
}

# mpirun calls this in place of ssh: AGENT ADDRESS COMMAND…
write_agent() {
    cat >"$work/agent" <<EOF
#!/bin/bash
names=(none a b c)
host=\${names[\${1##*.}]}
shift
exec nsenter --net=/run/netns/$id-\$host unshare --uts bash -c "hostname host-\$host; \$*"
EOF
    chmod +x "$work/agent"
}

# run_on_hosts VARIABLE PROGRAM WORDS… -- one rank on each host; VARIABLE is passed on to them.
run_on_hosts() {
    local variable=$1
    shift
    nsenter --net="/run/netns/$id-a" unshare --uts bash -c 'hostname host-a; exec "$@"' mpirun mpirun \
        --allow-run-as-root --mca plm_rsh_agent "$work/agent" --mca btl tcp,self --mca pml ob1 --mca btl_tcp_if_include eth0 \
        --mca oob_tcp_if_include eth0 --bind-to none -x "$variable" \
        -host 10.99.7.1:1,10.99.7.2:1,10.99.7.3:1 -np 3 "$@"
}

now() { cut -d' ' -f1 /proc/uptime; }
