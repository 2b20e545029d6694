# The ublk checks, run in a guest. $zero_copy, $resize and $fail_io say whether this kernel has these features, $handovers the ways to hand a
# device over that it has, $levels those whose arrays go through everything here and $others the rest, $parts what to do.

. /rig/serving.sh
. /rig/filesystem.sh
. /rig/volume.sh
hosts=0 host='' host_pid=''

# begin_host [COMMAND...]: begins a process of the test's own server, which obeys /tmp/hostN.in and answers in /tmp/hostN.out, and does not wait
# for it; with a command before it, as another user.
begin_host() {
  hosts=$((hosts + 1))
  mkfifo -m 666 /tmp/host$hosts.in
  : >/tmp/host$hosts.out
  "$@" guest-programs ublk <>/tmp/host$hosts.in >>/tmp/host$hosts.out 2>&1 &
  eval host_pid_$hosts=$!
}

# turn_to NUMBER: talks to that process from now on.
turn_to() {
  host=$1
  eval host_pid=\$host_pid_$host
  in=/tmp/host$host.in
  out=/tmp/host$host.out
}

# launch: begins a process and waits until it is up.
launch() {
  begin_host
  turn_to $hosts
  is_up
}

is_up() { hears UP || { cat $out; fail launch "$(tail -n 1 $out)"; return 1; }; }

# hears ANSWER: waits until the server has answered; fails when it said something else or has ended.
hears() {
  for turn in $(seq 3000); do
    while read -r said; do
      case $said in "$1"*) return 0 ;; ERROR*) return 1 ;; esac
    done <$out
    [ -d /proc/$host_pid ] || return 1
    usleep 100000
  done
  return 1
}

# tell ANSWER LINE: sends a line to the server, which is started when none runs, and waits for its answer.
tell() {
  [ -n "$host_pid" ] && [ -d /proc/$host_pid ] || launch
  : >$out
  echo "$2" >$in
  hears "$1"
  heard=$?
  cat $out
  return $heard
}

# start DRIVE OPTION...: serves a volume; sets $dev when it is ready, and $dev4 to its second device when it has two.
start() {
  if tell READY "serve $*"; then
    set_devices $(grep '^READY' $out)
    test -b "$dev" && return
  fi
  fail start "$*: $(tail -n 1 $out)"
  return 1
}

set_devices() { dev=$2 dev4=$3; }

# stop [VOLUME]
stop() { tell STOPPED "stop${1:+ $1}"; }

# crash: kill -9.
crash() {
  kill -9 $host_pid
  host_pid=
}

ublk_nodes() { ls /dev/ublk[bc]* 2>/dev/null | wc -l; }
no_nodes() { [ $(ublk_nodes) = 0 ]; }
queue() { cat /sys/block/${dev#/dev/}/queue/$1; }

# random NAME FIO-OPTION...: random writes of mixed sizes, all of them read back and checked.
random() {
  job=$1
  shift
  fio --name=$job --filename=$dev --rw=randwrite --bsrange=4k-64k --size=1M --ioengine=libaio --iodepth=16 --direct=1 \
    --verify=crc32c --verify_fatal=1 --randseed=7 --minimal "$@"
}

verify() { check $1 random "$@"; }

basics() {
  check probe tell PROBED probe
  # A start that fails after the device was made.
  mkdir /tmp/state
  : >/tmp/state/ublk
  refuse no-state tell READY "serve ram:8M"
  equal no-state-leaves-nothing "$(ublk_nodes)" 0
  rm /tmp/state/ublk
  start ram:64M queues=1 copy-mode=copy && {
    verify copy-1-queue
    equal link "$(readlink /run/polyblk/ublk/data)" "$dev"
    equal volatile-cache "$(queue write_cache)" "write through"
    equal logical-block "$(queue logical_block_size)" 512
    check discard-limit test "$(queue discard_max_bytes)" -gt 0
    check zeroes-limit test "$(queue write_zeroes_max_bytes)" -gt 0
    check zeroes sh -c "dd if=/dev/urandom of=$dev bs=64k count=8 oflag=direct && /usr/sbin/blkdiscard -z -l 524288 $dev && cmp -n 524288 $dev /dev/zero"
    check discard blkdiscard $dev
    check statistics tell STATS stats
    refuse own-device tell NESTED nest
    grep -q "wait for itself" $out && pass own-device-reason || fail own-device-reason "$(tail -n 1 $out)"
    check stop-idle stop
  }
  start ram:64M queues=4 reactors=2 depth=32 copy-mode=user-copy && {
    equal queues "$(ls /sys/block/${dev#/dev/}/mq | wc -l)" 4
    verify user-copy-4-queues --numjobs=4 --offset_increment=4M
    stop
  }
  start ram:64M,block-size=4096 queues=4 reactors=2 && {
    equal block-4096 "$(queue logical_block_size)" 4096
    verify copy-4-queues --numjobs=4 --offset_increment=4M
    refuse unaligned fio --name=unaligned --filename=$dev --rw=write --bs=512 --size=4k --direct=1 --minimal
    stop
  }
  start ram:8M read-only && {
    equal read-only "$(cat /sys/block/${dev#/dev/}/ro)" 1
    refuse write-read-only dd if=/dev/zero of=$dev bs=4k count=1 oflag=direct
    check read-read-only dd if=$dev of=/dev/null bs=64k count=16 iflag=direct
    stop
  }
}

# crash_under_load ROUND: kill -9 while writes of both volumes are in flight; they must only wait.
crash_under_load() {
  more ${disk#/dev/} 30
  more ${null#/dev/} 30
  catching=$host_pid
  check caught-$1 catch ${disk#/dev/} ${null#/dev/}
  crash
  tell LISTED list
  equal crash-orphans-$1 "$(grep -c orphan=True $out)" $(ls -d /dev/ublkb* | wc -l)
}

# serve_loaded ROUND: the successor takes over what is under load, in a process that is new.
serve_loaded() {
  start /dev/nullb0 volume=null queues=2 reactors=2 || return
  equal crash-same-null-$1 "$dev" "$null"
  start file:/tmp/disk,size=64M queues=2 reactors=2 || return
  equal crash-same-device-$1 "$dev" "$disk"
}

# Another volume that happens to have the name of one that waits for its server: it gets a device of its own, and says where the link led.
another_of_that_name() {
  start ram:8M volume=null uuid=2 || return
  check other-volume test "$dev" != "$null"
  grep -q "NOTE $null, where .* led until now" $out && pass other-volume-note || fail other-volume-note "$(grep NOTE $out)"
  check other-volume-stops stop null
}

# broken_off STEP DRIVE OPTION...: a successor dies while it takes the device over.
broken_off() {
  [ -n "$host_pid" ] || launch
  : >$out
  echo "break-off $*" >$in
  check dead-$1 within 120 test ! -e /proc/$host_pid/fd/0
  [ ! -s $out ] || fail broken-off-$1 "$(tail -n 1 $out)"
  host_pid=
}

# A successor that died when the driver had all its queues. Before Linux 6.16 nobody may try again: asked to begin anew, the driver would read
# what is not there where only some queues had come. The device can be given up.
half_taken_over() {
  broken_off fetched ram:8M volume=half queues=2
  if [ $fail_io = yes ]; then
    start ram:8M volume=half queues=2 || return
    equal half-same-device "$dev" "$half"
    check half-works dd if=/dev/zero of=$half bs=64k count=4 oflag=direct
    check half-stops stop half
    return
  fi
  refuse half-too-old tell READY "serve ram:8M volume=half queues=2"
  grep -q "died while it took the device over.*ublk delete ${half#/dev/ublkb}" $out && pass half-reason || fail half-reason "$(tail -n 1 $out)"
  check half-deleted tell DELETED "delete ${half#/dev/ublkb}"
}

# One server, killed twice: two volumes under load (copied; and on a block device, where zero copy is used by kernels that have it), one whose
# requests are all held by the server that dies, one whose requests fail while there is none, one that is given up, one whose successor dies too.
recovery() {
  rm -f /tmp/disk /tmp/tags /tmp/fail
  start ram:8M volume=gone && gone=${dev#/dev/ublkb} || return
  refuse delete-live tell DELETED "delete $gone"
  failing_before
  start ram:8M volume=half queues=2 && half=$dev || return

  # Nothing of this queue is idle.
  start file:/tmp/tags,size=16M volume=tags depth=8 copy-mode=copy || return
  tags=$dev
  check drain tell DRAINED "drain tags"
  fio --name=all --filename=$tags --rw=randwrite --bs=4k --size=1M --ioengine=libaio --iodepth=32 --direct=1 --verify=crc32c --randseed=3 >/tmp/tags.out 2>&1 &
  tagged=$!
  within 120 sh -c "[ \$(awk '{ print \$1 + \$2 }' /sys/block/${tags#/dev/}/inflight) -ge 8 ]"
  equal all-tags "$(awk '{ print $1 + $2 }' /sys/block/${tags#/dev/}/inflight)" 8

  start file:/tmp/disk,size=64M queues=2 reactors=2 && disk=$dev || return
  start /dev/nullb0 volume=null queues=2 reactors=2 && null=$dev || return
  [ $zero_copy = no ] || { grep -q "NOTE zero copy" $out && pass crash-zero-copy || fail crash-zero-copy "$(grep NOTE $out)"; }
  mixed='--rw=randrw --bsrange=4k-32k --size=2M --iodepth=16 --numjobs=2 --offset_increment=16M'
  begin_load disk --filename=$disk $mixed
  begin_load null --filename=$null $mixed

  crash_under_load 1
  check delete-orphan tell DELETED "delete $gone"
  half_taken_over
  another_of_that_name
  refuse other-mode tell READY "serve /dev/nullb0 volume=null queues=2 reactors=2 read-only"
  grep -q "left behind writable" $out && pass other-mode-reason || fail other-mode-reason "$(tail -n 1 $out)"
  failing_meanwhile
  serve_loaded 1 || return
  crash_under_load 2
  touch /tmp/disk.over /tmp/null.over
  broken_off begun /dev/nullb0 volume=null queues=2 reactors=2
  serve_loaded 2 || return

  start file:/tmp/tags volume=tags depth=8 && {
    wait $tagged
    equal crash-all-tags $? 0
    stop tags
  }
  failing_after
  end_load disk
  status=$?
  end_load null
  equal crash "$status $? $(cat /tmp/disk.fio /tmp/null.fio | grep -c 'err= 0')" "0 0 4"
  stop
  stop null
  tell LISTED list
  equal no-device "$(tail -n 1 $out)" "LISTED 0"
}

# Where the kernel can do it, requests fail while there is no server, and succeed again afterwards.
failing_before() {
  if [ $fail_io = no ]; then
    refuse fail-io-too-old tell READY "serve file:/tmp/fail,size=32M volume=fail recovery=fail"
    grep -q "Linux 6.13" $out && pass fail-io-reason || fail fail-io-reason "$(tail -n 1 $out)"
    return
  fi
  start file:/tmp/fail,size=32M volume=fail recovery=fail || return
  failing=$dev
  check fail-io-before dd if=/dev/zero of=$failing bs=4k count=1 oflag=direct
}

failing_meanwhile() {
  [ $fail_io = yes ] || return
  within 120 sh -c "! dd if=/dev/zero of=$failing bs=4k count=1 oflag=direct"
  refuse fail-io-meanwhile timeout 60 dd if=/dev/zero of=$failing bs=4k count=1 oflag=direct
}

failing_after() {
  [ $fail_io = yes ] || return
  start file:/tmp/fail volume=fail recovery=fail || return
  check fail-io-after dd if=/dev/zero of=$failing bs=4k count=1 oflag=direct
  stop fail
}

# has_requests DISK
has_requests() {
  inflight $1
  [ $((reads + writes)) -gt 0 ]
}

stopping() {
  rm -f /tmp/disk
  start file:/tmp/disk,size=32M || return
  exec 7<$dev
  refuse stop-open stop
  grep -q "opened by\|has it open" $out && pass stop-open-reason "$(grep ERROR $out)" || fail stop-open-reason
  exec 7<&-

  # A successor: the consumer waits meanwhile. A process that stays must let go, too, where the kernel can do that; it is the next one's successor.
  dd if=/dev/urandom of=/tmp/pattern bs=64k count=4 2>/dev/null
  stays=
  for way in $handovers; do
    rm -f /tmp/enough
    sh -c "until [ -e /tmp/enough ]; do dd if=/tmp/pattern of=$dev bs=4k oflag=direct 2>&1 || exit; done; echo status=0" >/tmp/dd.out &
    writer=$!
    more ${dev#/dev/} 10
    check $way tell HANDED $way
    # Asleep in a request, which nobody serves.
    check $way-waits within 120 sh -c 'grep "^State:.D" /proc/$(pidof dd)/status'
    touch /tmp/enough
    if [ $way = handover-stay ]; then
      stays=$host
      launch
    elif [ -n "$stays" ]; then
      turn_to $stays
    else
      launch
    fi
    start file:/tmp/disk || return
    wait $writer
    equal $way-status "$(tail -n 1 /tmp/dd.out)" "status=0"
    equal $way-data "$(sum $dev 262144)" "$(sum /tmp/pattern 262144)"
  done

  check drain-idle tell DRAINED drain
  dd if=$dev of=/dev/null bs=4k count=1 iflag=direct 2>/dev/null &
  reader=$!
  check drain-reaches within 120 has_requests ${dev#/dev/}
  check drain-holds test -d /proc/$reader
  check resume tell RESUMED resume
  check drain-releases wait $reader

  truncate -s 48M /tmp/disk
  if [ $resize = yes ]; then
    check resize tell RESIZED resize
    equal resized "$(blockdev --getsize64 $dev)" 50331648
    check write-beyond dd if=/dev/zero of=$dev bs=1M seek=40 count=4 oflag=direct conv=notrunc
  else
    refuse resize-too-old tell RESIZED resize
    grep -q "Linux 6.16" $out && pass resize-reason || fail resize-reason "$(tail -n 1 $out)"
  fi
  stop

  # A null volume fills nothing: its reads must not show what the kernel's memory held.
  start null:32M queues=1 && {
    [ $zero_copy = no ] || { grep -q "reads are copied" $out && pass null-mode "$(grep -m 1 NOTE $out)" || fail null-mode "$(grep NOTE $out)"; }
    check null-reads-zeroes cmp -n 1048576 $dev /dev/zero
    stop
  }

  # A start that failed at another door: whoever looks at the new device for a moment, as udev does, does not make it stay without a server.
  start ram:8M volume=looked-at && {
    exec 7<$dev
    usleep 700000 &
    exec 7<&-
    check give-up tell STOPPED "give-up looked-at"
    equal give-up-leaves-nothing "$(ublk_nodes)" 0
  }
}

zero_copies() {
  if [ $zero_copy = no ]; then
    refuse zero-copy-too-old tell READY "serve /dev/nullb0 copy-mode=zero-copy"
    grep -q "Linux 6.16" $out && pass zero-copy-reason || fail zero-copy-reason "$(tail -n 1 $out)"
    return
  fi
  for case in zero::'zero copy: ' hybrid:fake=writes:'zero copy for reads' late:fake=late:'zero copy: '; do
    kind=${case%%:*}
    option=$(echo "$case" | cut -d: -f2)
    start /dev/nullb0 queues=2 reactors=2 $option || continue
    grep -q "NOTE ${case#*:*:}" $out && pass mode-$kind "$(grep -m 1 NOTE $out)" || fail mode-$kind "$(grep NOTE $out)"
    verify zero-copy-$kind --numjobs=2 --offset_increment=4M
    stop
  done
}

# verify_both NAME FIO-OPTION...: random writes of mixed sizes over one queue and over four at once, all of them read back and checked.
verify_both() {
  both=$1
  shift
  check $both fio --rw=randwrite --bsrange=4k-64k --size=1M --ioengine=libaio --iodepth=16 --direct=1 --verify=crc32c --verify_fatal=1 --minimal "$@" \
    --name=one --filename=$dev --name=four --filename=$dev4 --numjobs=4 --offset=4M --offset_increment=4M
}

# serve_level LEVEL OPTION...: an array over real block devices, with a device of one queue ($dev) and one of four ($dev4).
array_drives='/dev/nullb0;/dev/nullb1;/dev/nullb2;/dev/nullb3' array_options='queues=1,4 reactors=2'
serve_level() {
  served_level=$1
  shift
  start "$served_level=$array_drives" $array_options "$@"
}

# killed NAME LEVEL FIO-OPTION...: kill -9 while writes of both devices are in flight. They only wait; their data is what was written.
killed() {
  name=$1 level=$2
  shift 2
  begin_load load --filename=$dev --size=1M $* --name=more --filename=$dev4 --offset=4M --offset_increment=4M --numjobs=4 --size=1M $*
  more ${dev4#/dev/} 10
  catching=$host_pid
  check caught-$name catch ${dev#/dev/} ${dev4#/dev/}
  was="$dev $dev4"
  crash
  touch /tmp/load.over
  # Also without members that are lost: what was being written is put right from the journal.
  serve_level $level || return
  equal same-devices-$name "$dev $dev4" "$was"
  check killed-$name end_load load
}

# grows NAME SIZE-MIB: the array grows under both devices, and what is written to the new room by one is read by the other.
grows() {
  [ $resize = yes ] || return 0
  tell RESIZED "resize $2"
  equal resized-$1 "$(blockdev --getsize64 $dev) $(blockdev --getsize64 $dev4)" "$(($2 << 20)) $(($2 << 20))"
  dd if=/tmp/sample/large of=$dev4 bs=64k seek=$((($2 - 2) * 16)) count=4 oflag=direct 2>/dev/null
  equal beyond-$1 "$(dd if=$dev bs=64k skip=$((($2 - 2) * 16)) count=4 iflag=direct 2>/dev/null | sha256sum)" "$(head -c 262144 /tmp/sample/large | sha256sum)"
}

# loses LEVEL: the array loses as many members as it can.
loses() {
  tell FAILED "fail 2"
  [ $1 != raid6 ] || tell FAILED "fail 0"
}

# Arrays, healthy and when they have lost what they can lose.
arrays() {
  begin_samples
  for level in $levels; do
    drives
    stripe_of $level
    serve_level $level new || continue
    grep NOTE $out
    equal queues-$level "$(ls /sys/block/${dev#/dev/}/mq | wc -l) $(ls /sys/block/${dev4#/dev/}/mq | wc -l)" "1 4"
    [ $level != raid5 ] || [ $zero_copy = no ] || check raid5-mode grep -q "zero copy for reads" $out
    carries_in_turn $level $dev4
    killed $level $level --rw=randwrite --bsrange=4k-64k --iodepth=8
    check discard-$level blkdiscard $dev
    verify_both array-$level --randseed=7
    grows $level 28
    if [ $level = raid0 ]; then
      tell FAILED "fail 2"
      refuse failed-$level dd if=$dev of=/dev/null bs=1M count=16 iflag=direct
    else
      check settle-$level tell SETTLED settle
      loses $level
      verify_both reconstruct-$level --randseed=7 --verify_only=1
      verify_both degraded-$level --randseed=8
      tell HEALTH health
      equal health-$level "$(tail -n 1 $out)" "HEALTH Degraded"
      killed $level-degraded $level --rw=randwrite --bs=$stripe --iodepth=4
      tell HEALTH health
      equal health-$level-killed "$(tail -n 1 $out)" "HEALTH Degraded"
      check discard-$level-degraded blkdiscard $dev
      carries_in_turn $level-degraded $dev4
      grows $level-degraded 32
    fi
    check stop-$level stop
  done
  [ $resize = yes ] || return 0
  # The other kernel, where they go through the rest, cannot resize.
  for level in $others; do
    serve_level $level new || continue
    grows $level 28
    [ $level = raid0 ] || { loses $level && grows $level-degraded 32; }
    check stop-$level stop
  done
}

# begin_user: begins a process of an ordinary user, for the part that follows.
user=
begin_user() {
  [ -z "$user" ] || return
  chmod a+rx / /bin /dev
  chmod -R a+rX /usr /opt /lib*
  HOME=/tmp begin_host /usr/bin/setpriv --reuid=1000 --regid=1000 --clear-groups
  user=$hosts
}

# The device of an ordinary user. A udev rule's work, giving the nodes to him, is done by a loop here.
unprivileged() {
  begin_user
  [ -z "$host_pid" ] || kill -9 $host_pid
  chmod 666 /dev/ublk-control
  rm -rf /tmp/state /run/polyblk
  while usleep 50000; do chown 1000 /dev/ublk[bc]* 2>/dev/null; done &
  helper=$!
  mkdir -p /run/polyblk && chmod 777 /run/polyblk
  turn_to $user
  is_up && start ram:16M unprivileged queues=1 && {
    verify unprivileged
    check stop-unprivileged stop
  }
  # In use at its server's end, it cannot wait for another one.
  start ram:16M unprivileged queues=1 && {
    /usr/bin/setpriv --reuid=1000 --regid=1000 --clear-groups sleep 1000 <$dev &
    user_of_device=$!
    check end-unprivileged tell HANDED handover-stay
    kill $user_of_device
    check end-unprivileged-away within 60 no_nodes
  }
  kill -9 $host_pid
  host_pid=
  kill $helper
  chmod 600 /dev/ublk-control
  rm -rf /tmp/state /run/polyblk
}

leaks() {
  begin_user
  check cycle-100 tell CYCLED "cycle ram:16M 100 queues=2 reactors=2"
  equal devices-left "$(ublk_nodes)" 0
}

# drives: four empty drives in the kernel's memory, /dev/nullb0 to 3.
drive_mib=40 last_sector=$((40 * 2048 - 1))
drives() {
  for i in 0 1 2 3; do
    drive=/sys/kernel/config/nullb/nullb$i
    if [ -d $drive ]; then
      echo 0 >$drive/power
      echo -0-$last_sector >$drive/badblocks
    else
      mkdir $drive
      for setting in size=$drive_mib memory_backed=1 discard=1 blocksize=512; do echo ${setting#*=} >$drive/${setting%=*}; done
    fi
    echo 1 >$drive/power
  done
}

mkdir -p /mnt/a
for m in ublk_drv ext4 xfs; do modprobe $m; done
modprobe null_blk nr_devices=0
[ -d /sys/kernel/config/nullb ] || mount -t configfs none /sys/kernel/config
drives
[ -b /dev/nullb3 ] || fail drives
for part in $parts; do
  read -r began idle_before </proc/uptime
  $part
  read -r ended idle_after </proc/uptime
  echo "PART $part took $began to $ended idle $idle_before to $idle_after"
done
dmesg | grep -E 'ublk|BUG:|WARNING:' | tail -n 20
pass done
exit 0
