#!/bin/bash
# `sekisho run` in network namespaces with real nginx and curl: find, block, survive kill -9 of each role, reload, stop.
# Usage: live_run.sh SEKISHO. Needs root; exit 77 (skipped) where namespaces or programs are missing.
# shellcheck disable=SC2086 # names of namespaces and process ids have no spaces
set -u
bin=$1
[ "$(id -u)" = 0 ] || { echo "SKIP: needs root"; exit 77; }
for p in ip nft nginx curl jq pgrep; do command -v $p >/dev/null || { echo "SKIP: no $p"; exit 77; }; done
ns=sk$$
ip netns add $ns-s 2>/dev/null || { echo "SKIP: no network namespaces"; exit 77; }
dir=$(mktemp -d /tmp/sekisho-live-XXXXXX)
guard="" nginx=""

cleanup() {
    [ -n "$guard" ] && kill -9 $guard 2>/dev/null
    [ -n "$nginx" ] && kill $nginx 2>/dev/null
    for n in s a b; do ip netns del $ns-$n 2>/dev/null; done
    rm -rf "$dir"
}
trap cleanup EXIT

fail() {
    echo "FAIL: $*"
    tail -n 30 "$dir"/err* 2>/dev/null
    exit 1
}

# Waits up to $1 seconds until the rest succeeds.
within() {
    local end=$((SECONDS + $1)); shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.05
    done
}

sek() { "$bin" "$1" -c "$dir/s.yaml" "${@:2}"; }
get() { ip netns exec $ns-$1 curl -s -o /dev/null -m 2 -w '%{http_code}' "http://$2/$3"; }
engine() { pgrep -P $guard -f role-engine; }
alerts() { jq -r 'select(.event_type=="alert").alert.signature_id' "$dir/eve.json" 2>/dev/null | grep -c "^$1\$"; }
engine_changed() { local e; e=$(engine) && [ "$e" != "$old" ]; }
engine_works() { sek status --json | jq -e '.roles[] | select(.name=="engine" and .state=="working")'; }
more_alerts() { [ "$(alerts $1)" -gt "$2" ]; }
start() {
    ip netns exec $ns-s "$bin" run -c "$dir/s.yaml" 2>"$dir/err$1" &
    guard=$!
    within 60 grep -q 'ready:' "$dir/err$1" || fail "run does not become ready"
}

# --- a server with two clients, each on its own link
for n in a b; do ip netns add $ns-$n; done
i=1
for n in a b; do
    ip link add v$n netns $ns-s type veth peer name eth0 netns $ns-$n
    ip -n $ns-s addr add 10.77.$i.1/24 dev v$n
    ip -n $ns-$n addr add 10.77.$i.2/24 dev eth0
    ip -n $ns-s link set v$n up
    ip -n $ns-$n link set eth0 up
    i=2
done
ip -n $ns-s link set lo up
mkdir "$dir/www"
chmod 755 "$dir" "$dir/www"
echo hello >"$dir/www/index.html"
cat >"$dir/nginx.conf" <<N
daemon off; worker_processes 1; pid $dir/nginx.pid; error_log /dev/null;
events {} http { access_log off; client_body_temp_path $dir/t; proxy_temp_path $dir/t; fastcgi_temp_path $dir/t;
uwsgi_temp_path $dir/t; scgi_temp_path $dir/t; server { listen 80; root $dir/www; } }
N
ip netns exec $ns-s nginx -c "$dir/nginx.conf" &
nginx=$!
cat >"$dir/t.rules" <<'N'
drop http any any -> $HOME_NET any (msg:"traversal"; flow:established,to_server; http.uri; content:"/etc/passwd"; sid:9000001; rev:1;)
alert http any any -> $HOME_NET any (msg:"probe"; flow:established,to_server; http.uri; content:"/probe"; sid:9000002; rev:1;)
N
cat >"$dir/s.yaml" <<N
vars:
  address-groups:
    HOME_NET: auto
rule-files: ["$dir/t.rules"]
capture:
  ring-size: 8mb
guard:
  control-socket: $dir/c.sock
  state-dir: $dir/state
outputs:
  eve:
    path: $dir/eve.json
N
# --- rings that would take the host's memory are refused before they are made
if [ "$(awk '/^MemTotal/ { print int($2 / 1048576) }' /proc/meminfo)" -lt 250 ]; then
    ip netns exec $ns-s timeout 20 "$bin" run -c "$dir/s.yaml" -i va --set capture.ring-size=2gb \
        --set capture.workers=64 2>"$dir/err0"
    [ $? = 1 ] || fail "rings larger than the memory are taken"
    grep -q 'lower capture.ring-size' "$dir/err0" || fail "rings larger than the memory are not named"
fi

a="a 10.77.1.1" b="b 10.77.2.1"
start 1
within 10 [ "$(get $b '')" = 200 ] || fail "nginx does not answer"

# --- find and block
[ "$(get $a '')" = 200 ] || fail "an ordinary request is not answered"
get $a '?f=/etc/passwd' >/dev/null
within 5 sek blocks --json || fail "blocks"
within 5 bash -c "'$bin' blocks -c '$dir/s.yaml' | grep -q 10.77.1.2" || fail "the attacker is not blocked"
[ "$(get $a '')" = 000 ] || fail "the attacker's next connection succeeds"
[ "$(get $b '')" = 200 ] || fail "another client is cut off"
id=$(sek blocks --json | jq -r '.[0].id')
sek explain "$id" | grep -q '^Evidence .*/etc/passwd' || fail "explain does not show the evidence"
sek explain 10.77.1.2 | grep -q "^Block *$id" || fail "explain does not take the address"
sek unblock 10.77.1.0/31 2>&1 | grep -q '10.77.1.0/31 is not blocked' || fail "a block that is not there is lifted"
sek block 198.51.100.0/24 --for 60s >/dev/null || fail "block of a network"
sek unblock 198.51.100.7 2>&1 | grep -q 'lies in 198.51.100.0/24' || fail "the wider block is not named"
sek unblock 198.51.100.0/24 >/dev/null || fail "unblock of a network"
sek block 192.0.2.1 --for 300d 2>&1 | grep -q max-block-duration || fail "a time that is cut down is not told"
sek unblock 192.0.2.1 >/dev/null || fail "unblock"
sek block 10.77.1.1 2>&1 | grep -q never-list || fail "its own address can be blocked"

# --- signals that reach every process are for the guard
old=$(engine)
for s in HUP INT TERM; do kill -$s "$old" "$(pgrep -P $guard -f role-reporter)"; done
sleep 0.5
[ "$(engine)" = "$old" ] || fail "a signal for all ends the engine"
sek status --json | jq -e 'all(.roles[]; .restarts == 0)' >/dev/null || fail "a signal for all ends a role"

# --- the engine dies under traffic
kill -9 "$old"
within 5 engine_changed || fail "the dead engine is not replaced"
within 5 engine_works || fail "the engine does not come back"
[ "$(get $a '')" = 000 ] || fail "the block is gone with the engine"
n=$(alerts 9000002)
get $b probe >/dev/null
within 5 more_alerts 9000002 "$n" || fail "the new engine does not find anything"

# --- the reporter dies
kill -9 "$(pgrep -P $guard -f role-reporter)"
n=$(alerts 9000002)
get $b probe >/dev/null
within 10 more_alerts 9000002 "$n" || fail "events are lost with the reporter"

# --- somebody flushes the ruleset
ip netns exec $ns-s nft flush ruleset
within 2 bash -c "ip netns exec $ns-s nft list set inet sekisho block4 | grep -q 10.77.1.2" || fail "the table is not repaired"

# --- the log is rotated
mv "$dir/eve.json" "$dir/eve.json.1"
within 5 test -e "$dir/eve.json" || fail "a rotated log is not noticed"
get $b probe >/dev/null
within 5 more_alerts 9000002 0 || fail "the new log gets no events"

# --- a reload with a mistake changes nothing; one without takes effect
cp "$dir/s.yaml" "$dir/good.yaml"
echo 'bogus: 1' >>"$dir/s.yaml"
out=$(sek reload --socket "$dir/c.sock" 2>&1) && fail "a configuration with a mistake is taken up"
grep -qE 's\.yaml:[0-9]+:[0-9]+: ' <<<"$out" || fail "the mistake is not named: $out"
cp "$dir/good.yaml" "$dir/s.yaml"
echo 'alert http any any -> any any (msg:"new"; http.uri; content:"/fresh"; sid:9000003;)' >>"$dir/t.rules"
sek reload | grep -q '^3 rules loaded, 0 rejected' || fail "reload"
get $b fresh >/dev/null
within 5 more_alerts 9000003 0 || fail "a reloaded rule does not work"

# --- the guard dies: blocks stay; a new start adopts them
kill -9 $guard
wait $guard 2>/dev/null
within 5 bash -c "! pgrep -f 'role-(engine|reporter) .* $guard\$'" || fail "roles outlive the guard"
[ "$(get $a '')" = 000 ] || fail "the block is gone with the guard"
start 2
[ "$(sek blocks --json | jq -r '[.[].id] | join(",")')" = "$id" ] || fail "blocks are not adopted as they were"

# --- unblock, expiry, stop
sek unblock "$id" >/dev/null || fail "unblock"
[ "$(get $a '')" = 200 ] || fail "an unblocked client is not served"
sek block 10.77.2.2 --for 2s >/dev/null || fail "block"
[ "$(get $b '')" = 000 ] || fail "a blocked client is served"
sleep 1
within 4 bash -c "[ \$(ip netns exec $ns-b curl -s -o /dev/null -m 1 -w '%{http_code}' http://10.77.2.1/) = 200 ]" ||
    fail "a block does not expire"
sek stop || fail "stop"
wait $guard
rc=$?
[ $rc = 0 ] || fail "run ends with status $rc"
[ -e "$dir/c.sock" ] && fail "the socket stays behind"
grep -hE 'Sanitizer|runtime error' "$dir"/err* && fail "sanitizer report"
guard=
echo PASS
