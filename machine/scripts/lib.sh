# Sourced by every guest script (busybox sh). Messages to the host go through descriptor 3, one line each.

# Reports a check: pass NAME [DETAIL], fail NAME [DETAIL]. The log has the time since the boot, too.
pass() { report "$1" ok "$@"; }
fail() { report "$1" FAIL "$@"; }
report() { n=$1 outcome=$2; shift 3; read -r up _ </proc/uptime; echo "[$up] CHECK $n $outcome $*"; printf 'CHECK %s %s %s\n' "$n" "$outcome" "$*" >&3; }

# detail: prints what the last command wrote, and sets $check_detail to the last line. (A pipe of programs costs more than many a check in an
# emulated guest.)
return_character=$(printf '\r')
detail() {
  cat /tmp/.check
  check_detail=$(tail -n 1 /tmp/.check)
  check_detail=${check_detail//"$return_character"/}
  check_detail=${check_detail:0:300}
}

# check NAME COMMAND...: runs the command; its output goes to the log, its last line is the detail (and in $check_detail).
check() {
  check_name=$1
  shift
  "$@" >/tmp/.check 2>&1 </dev/null
  check_status=$?
  detail
  if [ $check_status = 0 ]; then pass "$check_name" "$check_detail"; else fail "$check_name" "status $check_status: $check_detail"; fi
  return $check_status
}

# refuse NAME COMMAND...: a check that passes when the command fails.
refuse() {
  check_name=$1
  shift
  if "$@" >/tmp/.check 2>&1 </dev/null; then cat /tmp/.check; fail "$check_name" "succeeded but should not"; return 1; fi
  detail
  pass "$check_name" "$check_detail"
}

# equal NAME ACTUAL EXPECTED
equal() { if [ "$2" = "$3" ]; then pass "$1" "$2"; else fail "$1" "is '$2', should be '$3'"; return 1; fi; }

# within SECONDS COMMAND...: runs the command until it succeeds; fails when the time is over.
within() {
  read -r within_now _ </proc/uptime
  within_end=$((${within_now%.*} + $1))
  shift
  until "$@" >/dev/null 2>&1 </dev/null; do
    read -r within_now _ </proc/uptime
    [ ${within_now%.*} -lt $within_end ] || { echo "within: gave up on: $*"; return 1; }
    usleep 50000
  done
}

# Steps shared with the host: signal NAME [TEXT] tells it something; await NAME waits until it says NAME; the rest of what it
# said is in $said.
signal() { echo "SIGNAL $*"; printf 'SIGNAL %s\n' "$*" >&3; }
await() {
  while read -r -u 3 said; do
    case $said in "$1") said=; return 0 ;; "$1 "*) said=${said#* }; return 0 ;; esac
  done
  echo "await: the host has gone"
  return 1
}

# sum FILE [BYTES]: a checksum of the file's or device's beginning.
sum() { if [ $# = 2 ]; then head -c "$2" "$1" | sha256sum; else sha256sum <"$1"; fi | cut -d' ' -f1; }

# disk SLOT: waits for the disk in that slot of the PCI bus and prints its device; the kernel's names tell nothing of the order.
disk() {
  disk_of="ls /sys/bus/pci/devices/0000:00:$1.0/virtio*/block"
  within 60 sh -c "[ -n \"\$($disk_of 2>/dev/null)\" ]" || return 1
  echo "/dev/$($disk_of)"
}

# The device of the virtio-serial port of that name.
port() {
  for port_name in /sys/class/virtio-ports/*/name; do
    [ "$(cat "$port_name")" = "$1" ] && echo "/dev/$(basename "$(dirname "$port_name")")"
  done
}

# relay COMMAND...: runs it; the host sees each line that it writes, at once.
relay() { "$@" >"$(port rig.output)" 2>&1 </dev/null; }

# deliver FOLDER: hands the host all files in it. Once.
deliver() { tar -C "$1" -cf "$(port rig.results)" .; }
