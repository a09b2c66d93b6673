#!/usr/bin/env bash
# Three kvservers on this machine: starts them, shows them, kills them, brings them back.
# Needs bash, coreutils and /proc.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
dir="$root/.martlet"
base_port=""
bin=""
node_count=3
wait_seconds=60

usage() {
    cat <<'TEXT'
Usage: Scripts/cluster.sh COMMAND [--dir DIR] [--base-port PORT] [--bin DIR]

  up             build if need be, start what isn't running, wait until every node serves
  down           stop all nodes (SIGTERM), keep the data
  status         one line per node: pid, role, term, revision, lag, size, URL
  kill N|leader  SIGKILL one node
  stop N|leader  SIGTERM one node
  start N        start one node again
  logs N         the node's log, followed
  env            lines for the shell: eval "$(Scripts/cluster.sh env)"
  clean          remove data and logs; refuses while nodes run

  --dir DIR         where data, logs and pid files are kept    (default: .martlet)
  --base-port PORT  clients on PORT, PORT+10, PORT+20, peers one above each
                    (default: clients 2379 22379 32379, peers 2380 22380 32380)
  --bin DIR         use the kvserver and kvctl that are there    (default: build them)
TEXT
}

say() { printf '%s\n' "$*"; }
die() { printf 'cluster.sh: %s\n' "$*" >&2; exit 1; }

# --- names, ports, files ------------------------------------------------------------------------

client_port() {
    if [ -n "$base_port" ]; then echo $((base_port + 10 * ($1 - 1))); return; fi
    case $1 in 1) echo 2379 ;; 2) echo 22379 ;; 3) echo 32379 ;; esac
}
peer_port() { echo $(($(client_port "$1") + 1)); }
client_url() { echo "http://127.0.0.1:$(client_port "$1")"; }
peer_url() { echo "http://127.0.0.1:$(peer_port "$1")"; }
pid_file() { echo "$dir/n$1.pid"; }
log_file() { echo "$dir/n$1.log"; }
nodes() { seq 1 "$node_count"; }
endpoints() {
    local list="" n
    for n in $(nodes); do list="$list,$(client_url "$n")"; done
    echo "${list#,}"
}
bin() { echo "${bin:-$root/.build/release}"; }

# A process is ours if the pid file names its pid and its start time: pids are used again.
start_time() {
    local stat threads=("/proc/$1/task/"*)
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    stat=${stat##*) }
    # shellcheck disable=SC2086
    set -- $stat
    # It ended, and nobody has asked for its exit code yet. While it has other threads, it is still
    # ending, and its sockets may be open.
    if [ "$1" = Z ] && [ ${#threads[@]} -le 1 ]; then return 1; fi
    echo "${20}"
}
running_pid() {
    local pid started
    [ -f "$(pid_file "$1")" ] || return 1
    read -r pid started <"$(pid_file "$1")" || return 1
    [ "$(start_time "$pid")" = "$started" ] || return 1
    echo "$pid"
}

# Who listens on a port: the process whose descriptors hold the socket that /proc/net/tcp lists.
port_holder() {
    local hex inode="" pid descriptor target fields command
    printf -v hex ':%04X' "$1"
    while read -r -a fields; do
        if [[ ${fields[1]} == *"$hex" && ${fields[3]} == 0A ]]; then inode=${fields[9]}; fi
    done < <(cat /proc/net/tcp /proc/net/tcp6 2>/dev/null)
    [ -n "$inode" ] || return 1
    for pid in /proc/[0-9]*; do
        for descriptor in "$pid"/fd/*; do
            target=$(readlink "$descriptor" 2>/dev/null) || continue
            if [ "$target" = "socket:[$inode]" ]; then
                command=$(tr '\0' ' ' <"$pid/cmdline")
                echo "pid ${pid#/proc/} (${command:0:60})"
                return 0
            fi
        done
    done
    echo "a process of another user"
}

# --- building -----------------------------------------------------------------------------------

install_missing() {
    local code=0
    "$root/Scripts/install-packages.sh" --log "$dir/apt.log" || code=$?
    case $code in
    0) ;;
    2) exit 2 ;;
    *) die "could not install what building needs; see $dir/apt.log" ;;
    esac
}

build() {
    command -v swift >/dev/null || die "swift is not on PATH; install the Swift 6.3 toolchain"
    mkdir -p "$dir"
    local log="$dir/build.log" line
    if [ ! -x "$(bin)/kvserver" ]; then
        say "first build, about 5 minutes on 2 cores (log: $log)"
    fi
    : >"$log"
    if ! (cd "$root" && { swift build -c release --product kvserver &&
        swift build -c release --product kvctl; } 2>&1) | tee "$log" | progress; then
        tail -n 20 "$log" >&2
        die "the build failed; the whole log is in $log"
    fi
}

# Shows the compiler's [n/m] on one line of a terminal, and now and then elsewhere.
progress() {
    local line last=0
    while IFS= read -r line; do
        case $line in
        \[*/*\]*)
            if [ -t 1 ]; then
                printf '\r\033[K%s' "${line:0:78}"
            elif [ $((SECONDS - last)) -ge 20 ]; then
                last=$SECONDS
                say "  ${line%%]*}]"
            fi
            ;;
        esac
    done
    if [ -t 1 ]; then printf '\r\033[K'; fi
}

# --- nodes --------------------------------------------------------------------------------------

initial_cluster() {
    local list="" n
    for n in $(nodes); do list="$list,n$n=$(peer_url "$n")"; done
    echo "${list#,}"
}

launch() {
    local n=$1 port holder
    running_pid "$n" >/dev/null && return
    for port in $(client_port "$n") $(peer_port "$n"); do
        if holder=$(port_holder "$port"); then
            die "port $port, which node $n needs, is held by $holder; stop it or use --base-port"
        fi
    done
    mkdir -p "$dir"
    # Job control gives the node a process group of its own: Ctrl-C and a closing terminal
    # don't reach it.
    set -m
    # A node that crashes keeps its ports until its backtrace is written; names take seconds.
    SWIFT_BACKTRACE="${SWIFT_BACKTRACE:-enable=yes,symbolicate=off,color=no}" \
        nohup "$(bin)/kvserver" --name "n$n" --data-dir "$dir/n$n" \
        --listen-client-urls "$(client_url "$n")" --advertise-client-urls "$(client_url "$n")" \
        --listen-peer-urls "$(peer_url "$n")" --initial-advertise-peer-urls "$(peer_url "$n")" \
        --initial-cluster "$(initial_cluster)" --initial-cluster-state new \
        </dev/null >>"$(log_file "$n")" 2>&1 &
    local pid=$!
    set +m
    disown "$pid"
    echo "$pid $(start_time "$pid" || echo gone)" >"$(pid_file "$n")"
}

wait_ready() {
    local deadline=$((SECONDS + wait_seconds)) n
    for n in "$@"; do
        until "$(bin)/kvctl" --endpoints "$(client_url "$n")" --dial-timeout 1s \
            --command-timeout 2s endpoint health >/dev/null 2>&1; do
            if ! running_pid "$n" >/dev/null || [ $SECONDS -ge $deadline ]; then
                printf 'cluster.sh: node %s does not serve; its last lines:\n' "$n" >&2
                tail -n 20 "$(log_file "$n")" >&2 || true
                exit 1
            fi
            sleep 0.1
        done
    done
}

leader() {
    local n
    for n in $(nodes); do
        running_pid "$n" >/dev/null || continue
        if [ "$(status_field "$n" role)" = leader ]; then echo "$n"; return; fi
    done
    die "no node says that it leads"
}

pick() {
    case ${1:-} in
    leader) leader ;;
    [1-9]) [ "$1" -le "$node_count" ] || die "there is no node $1"; echo "$1" ;;
    *) die "which node? 1 to $node_count, or leader" ;;
    esac
}

signal_node() {
    local n=$1 signal=$2 pid tries=0
    pid=$(running_pid "$n") || die "node $n doesn't run"
    kill "-$signal" "$pid"
    while running_pid "$n" >/dev/null; do
        tries=$((tries + 1))
        [ $tries -le 200 ] || die "node $n (pid $pid) ignores SIG$signal"
        sleep 0.05
    done
    rm -f "$(pid_file "$n")"
}

# --- status -------------------------------------------------------------------------------------

# kvctl's JSON for one node, reduced to the fields we show.
node_status() {
    "$(bin)/kvctl" --endpoints "$(client_url "$1")" --dial-timeout 1s --command-timeout 2s \
        endpoint status -w json 2>/dev/null
}
json_field() {
    local pattern="\"$2\":\"?([0-9]+)"
    if [[ $1 =~ $pattern ]]; then echo "${BASH_REMATCH[1]}"; fi
}

status_field() {
    local json
    json=$(node_status "$1") || { echo unreachable; return; }
    case $2 in
    role) [ "$(json_field "$json" leader)" = "$(json_field "$json" member_id)" ] &&
        echo leader || echo follower ;;
    esac
}

show_status() {
    local n pid json role highest=0 applied
    local -a jsons=()
    for n in $(nodes); do
        jsons[n]=$(node_status "$n" || true)
        applied=$(json_field "${jsons[n]}" raftAppliedIndex)
        [ "${applied:-0}" -gt "$highest" ] && highest=$applied
    done
    printf '%-5s %-8s %-9s %5s %9s %5s %9s  %s\n' node pid role term revision lag size URL
    for n in $(nodes); do
        pid=$(running_pid "$n") || pid=-
        json=${jsons[n]}
        if [ -z "$json" ]; then
            role=$([ "$pid" = - ] && echo stopped || echo starting)
            printf '%-5s %-8s %-9s %5s %9s %5s %9s  %s\n' "n$n" "$pid" "$role" - - - - \
                "$(client_url "$n")"
            continue
        fi
        role=follower
        [ "$(json_field "$json" leader)" = "$(json_field "$json" member_id)" ] && role=leader
        printf '%-5s %-8s %-9s %5s %9s %5s %9s  %s\n' "n$n" "$pid" "$role" \
            "$(json_field "$json" raftTerm)" "$(json_field "$json" revision)" \
            "$((highest - $(json_field "$json" raftAppliedIndex)))" \
            "$(du -sh "$dir/n$n" | cut -f1)" "$(client_url "$n")"
    done
}

# --- commands -----------------------------------------------------------------------------------

command=""
argument=""
while [ $# -gt 0 ]; do
    case $1 in
    --dir) dir=${2:?--dir needs a folder}; shift 2 ;;
    --base-port) base_port=${2:?--base-port needs a number}; shift 2 ;;
    --bin) bin=${2:?--bin needs a folder}; shift 2 ;;
    -h | --help) usage; exit 0 ;;
    -*) usage >&2; exit 64 ;;
    *)
        if [ -z "$command" ]; then command=$1; else argument=$1; fi
        shift
        ;;
    esac
done
case $dir in /*) ;; *) dir="$PWD/$dir" ;; esac
case $bin in "" | /*) ;; *) bin="$PWD/$bin" ;; esac

case $command in
up)
    if [ -z "$bin" ]; then
        install_missing
        build
    fi
    for n in $(nodes); do launch "$n"; done
    # shellcheck disable=SC2046
    wait_ready $(nodes)
    show_status
    say ""
    say "Paste this to use it:"
    options=""
    [ "$dir" = "$root/.martlet" ] || options=" --dir $dir"
    [ -z "$base_port" ] || options="$options --base-port $base_port"
    [ -z "$bin" ] || options="$options --bin $bin"
    say "  eval \"\$($root/Scripts/cluster.sh env$options)\""
    say "  kvctl put greeting hello"
    say "  kvctl get greeting"
    ;;
down)
    for n in $(nodes); do
        if running_pid "$n" >/dev/null; then signal_node "$n" TERM; say "n$n stopped"; fi
    done
    ;;
status) show_status ;;
kill)
    n=$(pick "$argument")
    signal_node "$n" KILL
    say "n$n killed; bring it back with: Scripts/cluster.sh start $n"
    ;;
stop)
    n=$(pick "$argument")
    signal_node "$n" TERM
    say "n$n stopped; bring it back with: Scripts/cluster.sh start $n"
    ;;
start)
    n=$(pick "$argument")
    launch "$n"
    wait_ready "$n"
    say "n$n runs"
    ;;
logs) exec tail -n 100 -f "$(log_file "$(pick "$argument")")" ;;
env)
    printf 'export PATH="%s:$PATH"\n' "$(bin)"
    printf 'export MARTLET_ENDPOINTS=%s\n' "$(endpoints)"
    printf 'export ETCDCTL_API=3 ETCDCTL_ENDPOINTS=%s\n' "$(endpoints)"
    ;;
clean)
    for n in $(nodes); do
        ! running_pid "$n" >/dev/null || die "node $n runs; first: Scripts/cluster.sh down"
    done
    for n in $(nodes); do rm -rf "$dir/n$n" "$(log_file "$n")" "$(pid_file "$n")"; done
    say "removed the data of $node_count nodes in $dir"
    ;;
*) usage >&2; exit 64 ;;
esac
