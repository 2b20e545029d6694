# What lib.sh takes from busybox, in a Debian of bash and coreutils; and how a script of this system ends.
usleep() { sleep 0.1; }

# The rig's port.
control() {
  for name in /sys/class/virtio-ports/*/name; do
    [ "$(cat "$name")" != rig.control ] || echo "/dev/$(basename "$(dirname "$name")")"
  done
}

# finish STATUS: ends the system in order; the rig is told when it has ended (system-shutdown/rig).
finish() {
  echo "$1" >/run/rig/status
  systemctl --no-block reboot
  exec sleep infinity
}

# programs of the host, with their own loader and libraries
rig_program() { name=$1; shift; LD_LIBRARY_PATH=/run/rig/lib "/run/rig/bin/$name" "$@"; }

is_with_machine() { [ -e /run/rig/machine.img ]; }

# boot_machine: a machine that has the volume for its second disk, with the arguments that polyblk prints; says what it has seen there.
boot_machine() {
  printed=$(polyblk volume show data --json | grep -o '"text": "qemu-system-x86_64 [^"]*' | head -n 1 | cut -d'"' -f4 | sed 's/1G/64M/g')
  echo "polyblk says: $printed"
  timeout 300 /run/rig/qemu/ld-linux-x86-64.so.2 --library-path /run/rig/qemu /run/rig/qemu/$printed \
    -accel tcg -nodefaults -no-user-config -display none -L /run/rig/firmware -serial file:/run/rig/serial -device isa-debug-exit \
    -drive if=none,id=first,file=/run/rig/machine.img,format=raw,readonly=on -device virtio-blk-pci,drive=first,bootindex=0
  seen="$? $(cat /run/rig/serial)"
}

# files FILE: lists what is on the disk, without what any package's installation changes.
files() {
  find / -xdev \( -path /var/log -o -path /var/cache -o -path /var/backups -o -path /var/lib/apt -o -path /var/lib/dpkg \
    -o -path /tmp -o -path /root -o -path /var/lib/systemd -o -path '/etc/*-' -o -path /etc/.pwd.lock \) -prune \
    -o -print | sort >"$1"
  cat /etc/passwd /etc/group >>"$1"
}

main_pid() { systemctl show -p MainPID --value polyblk; }

# is_served_by_others PID: whether another process than that is the service's, and it serves.
is_served_by_others() { [ "$(main_pid)" != "$1" ] && is_served; }

# is_served: whether the daemon has told systemd so.
is_served() {
  [ "$(systemctl is-active polyblk)" = active ] && systemctl show -p StatusText --value polyblk | grep -q 'serves 1 of 1'
}

# serving_pid [VOLUME]: the process that serves the volume; without one, the daemon's.
serving_pid() { tr -dc 0-9 <"/run/polyblk/${1:-_daemon}/lock"; }

# is_replaced PID: whether another process than that is the daemon, and serves.
is_replaced() { [ "$(serving_pid)" != "$1" ] && is_served; }

# is_program_gone PID: whether the process runs a file that another has replaced.
is_program_gone() { case $(readlink "/proc/$1/exe") in *' (deleted)') ;; *) return 1 ;; esac; }

# is_isolated PID: whether another process than that has the volume.
is_isolated() { [ "$(serving_pid data)" != "$1" ] && [ -d "/proc/$(serving_pid data)" ]; }

# is_scraped: whether the metrics' port answers.
is_scraped() {
  exec 5<>/dev/tcp/127.0.0.1/9777 || return 1
  printf 'GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' >&5
  grep -q '^polyblk_volume_health' <&5
}
