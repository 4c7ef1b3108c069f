#!/bin/sh
# A virsh that says what a real one said (libvirt 9.0, QEMU 7.2) in a migration of three passes, half a second after `begin` is there.
d=$(dirname "$0")
side=source
while [ $# -gt 0 ]; do
  case $1 in
    --quiet) shift ;;
    --connect) side=$2; shift 2 ;;
    *) break ;;
  esac
done
if [ "$side" = wrong ]; then
  echo "error: failed to connect to the hypervisor" >&2
  echo "error: no connection driver available for wrong" >&2
  exit 1
fi
say() { echo "$(date -u '+%F %T.%3N+0000'): event $1 for domain 'tern': $2"; }
began() { until [ -e "$d/begin" ]; do sleep 0.05; done; }
case "$1 $side" in
  "qemu-monitor-event source")
    began
    say MIGRATION '{"status":"setup"}'
    say MIGRATION_PASS '{"pass":1}'
    echo active >"$d/phase"
    say MIGRATION '{"status":"active"}'
    sleep 1
    say MIGRATION_PASS '{"pass":2}'
    echo second >"$d/phase"
    sleep 1
    now=$(date -u '+%F %T.%3N+0000')
    echo "$now: event MIGRATION_PASS for domain 'tern': {\"pass\":3}"
    echo "$now: event STOP for domain 'tern': <null>"
    echo stopped >"$d/phase"
    say MIGRATION '{"status":"pre-switchover"}'
    say MIGRATION '{"status":"device"}'
    say MIGRATION_PASS '{"pass":4}'
    sleep 0.05
    if [ -e "$d/fails" ]; then
      echo failed >"$d/phase"
      say MIGRATION '{"status":"failed"}'
      say RESUME '<null>'
    else
      say MIGRATION '{"status":"completed"}'
      echo gone >"$d/phase"
    fi
    exec sleep 60 ;;
  "event source")
    until [ "$(cat "$d/phase" 2>/dev/null)" = gone ]; do sleep 0.02; done
    say "'lifecycle'" 'Stopped Migrated'
    say "'job-completed'" ''
    sed 's/^/\t/' "$d/job"
    exec sleep 60 ;;
  "qemu-monitor-event destination")
    began
    say MIGRATION '{"status":"active"}'
    until [ "$(cat "$d/phase" 2>/dev/null)" = gone ]; do sleep 0.005; done
    say RESUME '<null>'
    exec sleep 60 ;;
  "event destination") exec sleep 60 ;;
esac
ram() { # syncs remaining normal transferred
  echo "{\"return\":{\"expected-downtime\":300,\"status\":\"$5\",\"setup-time\":1,\"total-time\":38,\"ram\":{\"total\":135659520,\"dirty-sync-count\":$1,\"page-size\":4096,\"remaining\":$2,\"mbps\":32.1,\"transferred\":$4,\"duplicate\":32000,\"dirty-pages-rate\":0,\"normal\":$3}},\"id\":\"libvirt-422\"}"
}
while printf 'virsh # ' && IFS= read -r line; do
  echo "$line"
  phase=$(cat "$d/phase" 2>/dev/null)
  case "$phase $line" in
    *" echo "*) printf '%s' "${line#echo }" ;;
    *" uri") echo "qemu:///$side" ;;
    *" version") printf 'Using library: libvirt 9.0.0\nRunning hypervisor: QEMU 7.2.22\n\n' ;;
    *"'nix'"*) echo "error: failed to get domain 'nix'" >&2 ;;
    "gone dom"*) if [ $side = source ]; then echo "error: failed to get domain 'tern'" >&2; else echo "running (migrated)"; fi ;;
    *" dominfo"*) printf 'Id:             1\nName:           tern\nState:          running\n\n' ;;
    *" domstate"*) echo running ;;
    "gone "*) echo "error: failed to get domain 'tern'" >&2 ;;
    *query-migrate-parameters*) echo '{"return":{"downtime-limit":300,"max-bandwidth":2097152},"id":"libvirt-1"}' ;;
    *query-migrate-capabilities*) echo '{"return":[{"state":true,"capability":"events"}],"id":"libvirt-2"}' ;;
    *query-memory-size-summary*) echo '{"return":{"base-memory":135266304},"id":"libvirt-3"}' ;;
    "active "*query-migrate*) ram 1 500000 100 422844 active ;;
    "second "*query-migrate*) ram 2 300000 200 822844 active ;;
    "stopped "*query-migrate*) ram 4 100000 300 1022844 device ;;
    "failed "*query-migrate*) echo '{"return":{"status":"failed","error-desc":"Unable to write to socket: Broken pipe"},"id":"libvirt-9"}' ;;
    *query-migrate*) echo '{"return":{},"id":"libvirt-411"}' ;;
    *) echo "error: unknown command: '$line'" >&2 ;;
  esac
done
