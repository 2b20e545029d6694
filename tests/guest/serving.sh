# The command line in a guest, serving volumes that are loaded, killed and served again (busybox sh, after lib.sh). Sourced by guest scripts.

# What waits for every processor to pass through the scheduler (devices that come and go) must not wait for an emulator.
echo 1 >/sys/kernel/rcu_expedited
# fio starts faster when it does not measure the processors' clocks, which tells nothing in an emulated guest.
fio() { command fio --clocksource=clock_gettime "$@"; }

# $state are options that come before the command, $server is the process that serves.
state='' server='' stalled=''

polyblk() { /opt/polyblk/polyblk $state "$@"; }

# begin_serving NAME COMMAND...: begins a command that serves, and does not wait. What it says is in /tmp/NAME.ready and /tmp/NAME.err.
begin_serving() {
  began=$1
  shift
  rm -f /tmp/$began.ready /tmp/$began.err
  /opt/polyblk/polyblk $state "$@" >/tmp/$began.ready 2>/tmp/$began.err &
  server=$!
}

# is_ready NAME: waits until the server says so in a line, or has ended; at most 400 seconds. (A program that is started for every look, as
# 'within' does, costs more than the looking.)
is_ready() {
  for turn in $(seq 8000); do
    # Whoever reads a line that is not whole is told so.
    ! read -r ready_line 2>/dev/null </tmp/$1.ready || return 0
    [ -d /proc/$server ] || return 1
    usleep 50000
  done
  return 1
}

# serve NAME OPTION...: serves a volume and waits until it is ready.
serve() {
  name=$1
  shift
  begin_serving $name serve $name --json "$@"
  is_ready $name && return 0
  cat /tmp/$name.err
  return 1
}

# end_serving: ends it in order.
end_serving() {
  kill -TERM $server
  wait $server
  ended=$?
  server=
  cat /tmp/$name.err
  return $ended
}

# stall DRIVE...: from here on the drives keep the serving process's writes waiting (at two bytes a second), until kill_server. What is under way
# then is in flight for certain when the process is killed, in the midst of its updates.
stall() {
  stalled=$*
  [ -d /tmp/stall ] || { mkdir /tmp/stall && mount -t cgroup2 none /tmp/stall && echo +io >/tmp/stall/cgroup.subtree_control && mkdir /tmp/stall/server; }
  echo $server >/tmp/stall/server/cgroup.procs
  for drive in $stalled; do echo "$(cat /sys/block/$drive/dev) wbps=2" >/tmp/stall/server/io.max || fail stall $drive; done
}

# catch DISK...: stops the serving process (or the one that $catching names) while writes of each disk are in flight: they stay so until it is killed.
# For volumes of files, and for loads that go on until they are told to end.
catch() {
  for turn in $(seq 4000); do
    kill -STOP ${catching:-$server}
    for look in $(seq 20); do
      caught=0 reading=
      for loaded; do
        inflight $loaded
        [ $writes = 0 ] || caught=$((caught + 1))
        [ $reads = 0 ] || reading=$loaded
      done
      # Those that come now have only a stopped server to go to.
      [ $caught -lt $# ] || return 0
      [ -z "$reading" ] || break
      usleep 50000
    done
    kill -CONT ${catching:-$server}
    usleep 50000
  done
  echo "at no time were writes of $* in flight"
  return 1
}

# inflight DISK: sets $reads and $writes to how many are in flight.
inflight() { read -r reads writes </sys/block/$1/inflight; }

# waiting DISK [COUNT]: whether so many writes of the disk (8) are in flight, and for half a second none has been done: the server has them all.
waiting() {
  requests $1
  before=$requests
  usleep 500000
  requests $1
  inflight $1
  [ $writes -ge ${2:-8} ] && [ $requests = $before ]
}

# in_flight COUNT EXPORTS: whether the server says that of so many of its exports at least so many requests are in flight.
in_flight() {
  polyblk volume show $name --json >/tmp/in_flight || return
  # Drives, sessions and the volume have that, too: of an export it is the first of its statistics, which are indented like this.
  awk -v count=$1 -v exports=$2 -F: '/^        "statistics"/ { its = 1 } its && /"inFlight"/ { its = 0; if ($2 + 0 >= count) many++ }
    END { exit (many < exports) }' /tmp/in_flight
}

# kill_server: ends the process that serves at once. Its last writes still reach stalled drives: they come late, as a real drive's would.
kill_server() {
  kill -9 $server
  for drive in $stalled; do echo "$(cat /sys/block/$drive/dev) wbps=max" >/tmp/stall/server/io.max; done
  stalled=
  wait $server
  server=
}

# requests DISK: sets $requests to how many the disk has done; more DISK COUNT: waits until it has done so many more than when this was called: for
# loads that go on until they are told to end.
requests() { read -r requests _ _ _ requests_write _ </sys/block/$1/stat; requests=$((requests + requests_write)); }
more() {
  requests $1
  enough=$((requests + $2))
  for turn in $(seq 4000); do
    requests $1
    [ $requests -lt $enough ] || return 0
    usleep 100000
  done
  fail more-$1 "it did $((requests - enough + $2)) requests of $2 in $turn tenths of a second"
  return 1
}

# begin_load NAME FIO-OPTION...: fio in the background, again and again with other data, until end_load: it is there whenever a server is killed.
begin_load() {
  loading=$1
  shift
  rm -f /tmp/$loading.over
  (
    seed=0
    until [ -e /tmp/$loading.over ]; do
      seed=$((seed + 1))
      echo $seed >/tmp/$loading.seed
      load_again $loading "$@" >/tmp/$loading.fio 2>&1 || exit
    done
  ) &
  eval load_pid_$loading=$!
}

# load_again NAME FIO-OPTION...: its last round once more. Further jobs may follow (--name=...).
load_again() {
  again=$1
  shift
  fio --randseed=$(cat /tmp/$again.seed) --ioengine=libaio --direct=1 --verify=crc32c --do_verify=1 --verify_fatal=1 --name=$again "$@"
}

# stripe_of LEVEL: sets $stripe to what a write of a whole stripe has, for an array of four drives with chunks of 64 KiB.
stripe_of() { case $1 in raid5) stripe=192k ;; raid6) stripe=128k ;; *) stripe=4k ;; esac; }

# end_load NAME: ends it after the round that it is in, and returns fio's status.
end_load() {
  touch /tmp/$1.over
  eval wait \$load_pid_$1
  loaded=$?
  tail -n 20 /tmp/$1.fio
  return $loaded
}
