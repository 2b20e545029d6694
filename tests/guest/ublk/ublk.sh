# The ublk checks, run in a guest. $zero_copy, $resize and $fail_io say whether this kernel has these features, $handovers the ways to hand a
# device over that it has, $levels which arrays to make, $parts what to do.

. /rig/standby.sh
state='--state /tmp/pb'
hosts=0 host_pid='' spare_host=''

# begin_host [COMMAND...]: begins a process of the test's own server, which obeys /tmp/hostN.in and answers in /tmp/hostN.out; with a command
# before it, as another user.
begin_host() {
  hosts=$((hosts + 1))
  mkfifo -m 666 /tmp/host$hosts.in
  : >/tmp/host$hosts.out
  "$@" dotnet /opt/polyblk/Polyblk.UblkTestHost.dll <>/tmp/host$hosts.in >>/tmp/host$hosts.out 2>&1 &
  eval host_pid_$hosts=$!
}

# launch [COMMAND...]: a new process. One is always begun before it is needed.
launch() {
  if [ $# = 0 ] && [ -n "$spare_host" ]; then host=$spare_host; spare_host=; else begin_host "$@"; host=$hosts; fi
  eval host_pid=\$host_pid_$host
  in=/tmp/host$host.in
  out=/tmp/host$host.out
  hears UP || { cat $out; fail launch "$(tail -n 1 $out)"; return 1; }
  [ -n "$spare_host" ] || { begin_host; spare_host=$hosts; }
}

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

# start DRIVE OPTION...: serves a volume; sets $dev when it is ready.
start() {
  if tell READY "serve $*"; then
    dev=$(sed -n 's/^READY \([^ ]*\).*/\1/p' $out)
    test -b "$dev" && return
  fi
  fail start "$*: $(tail -n 1 $out)"
  return 1
}

stop() { tell STOPPED stop; }

# crash: kill -9. A new process is started at once, so that it is up when it is needed.
crash() {
  kill -9 $host_pid
  host_pid=
}

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

# tree DIRECTORY: a checksum of all files in it.
tree() { (cd $1 && find . -type f -exec sha256sum {} + | sort | sha256sum); }

# XFS: a tree that is copied, trimmed and checked.
filesystem() {
  start file:/tmp/xfs,size=320M queues=2 || return
  check mkfs-xfs mkfs.xfs -q -f $dev
  check mount-xfs mount -t xfs $dev /mnt/a
  cp -r /opt/polyblk /mnt/a/host
  cp -r /opt/polyblk /mnt/a/polyblk
  sync
  rm -rf /mnt/a/polyblk
  check fstrim-xfs fstrim -v /mnt/a
  before=$(tree /mnt/a)
  refuse stop-mounted-xfs stop
  check still-served-xfs touch /mnt/a/file
  rm /mnt/a/file
  check umount-xfs umount /mnt/a
  stop
  start file:/tmp/xfs queues=2 || return
  check fsck-xfs xfs_repair -n $dev
  mount -t xfs $dev /mnt/a
  equal tree-xfs "$(tree /mnt/a)" "$before"
  umount /mnt/a
  stop
  rm /tmp/xfs
}

# serve_data OPTION...: the command line serves the volume "data" by ublk; sets $dev.
serve_data() {
  serve data --frontend ublk "$@"
  served=$?
  dev=$(readlink -f /tmp/pb/run/data/ublk/data)
  [ $served = 0 ] && test -b "$dev" && return
  fail serve "$(tail -n 1 /tmp/data.err)"
  return 1
}

orphans() { polyblk ublk list | grep "polyblk ublk recover"; }
optimal() { polyblk volume show data | grep -q optimal; }

# The whole path by the real command, with ext4: a crash while a tree is copied, stops refused and forced, orphans listed and deleted.
command_line() {
  stock 2
  check create polyblk volume create data --level none file:/tmp/volume,size=128M
  serve_data --queues 2 || return
  check mkfs-ext4 mkfs.ext4 -q -F $dev
  check mount-ext4 mount -t ext4 $dev /mnt/a
  (cp -r /opt/polyblk /mnt/a/host && cp -r /opt/polyblk /mnt/a/ && sync) &
  copy=$!
  usleep 200000
  kill_server
  first=$dev
  serve_data --queues 2 || return
  equal serve-same-device "$dev" "$first"
  check copy-over-crash wait $copy
  rm -rf /mnt/a/polyblk
  sync
  check fstrim-ext4 fstrim -v /mnt/a
  equal tree-ext4 "$(tree /mnt/a/host)" "$(tree /opt/polyblk)"
  refuse stop-mounted-ext4 polyblk volume stop data
  grep -q "mounted at /mnt/a" /tmp/.check && pass stop-mounted-reason || fail stop-mounted-reason "$(cat /tmp/.check)"
  cp /opt/polyblk/polyblk.dll /mnt/a/late
  check stop-forced polyblk volume stop data --force
  answer $serving
  umount /mnt/a
  equal forced-away "$(ls /dev/ublkb* 2>/dev/null | wc -l)" 0
  serve_data || return
  mount -t ext4 $dev /mnt/a
  check forced-data cmp /opt/polyblk/polyblk.dll /mnt/a/late
  umount /mnt/a
  check fsck-ext4 e2fsck -fn $dev
  kill_server
  check list-orphan orphans
  check delete polyblk ublk delete ${dev#/dev/ublkb}
  equal deleted "$(ls /dev/ublk[bc]* 2>/dev/null | wc -l)" 0
  rm -r /tmp/volume /tmp/pb
}

# crash_under_load NAME DRIVE OPTION...: kill -9, twice, while fio writes and verifies; it must only wait.
crash_under_load() {
  crash_name=$1
  drive=$2
  shift 2
  start $drive "$@" || return
  first=$dev
  fio --name=load --filename=$dev --rw=randrw --bsrange=4k-32k --size=3M --ioengine=libaio --iodepth=16 --direct=1 --numjobs=2 --offset_increment=16M \
    --verify=crc32c --verify_fatal=1 --randseed=11 --rate_iops=30 >/tmp/fio.out 2>&1 &
  load=$!
  for round in 1 2; do
    more ${dev#/dev/} 30
    crash
    usleep 500000
    test -d /proc/$load || { fail $crash_name-load "fio ended before the crash: $(tail -n 3 /tmp/fio.out)"; return; }
    tell LISTED list
    grep -q "orphan=True" $out && pass $crash_name-orphan-$round || fail $crash_name-orphan-$round "$(cat $out)"
    start $drive "$@" || return
    equal $crash_name-same-device-$round "$dev" "$first"
  done
  wait $load
  status=$?
  tail -n 25 /tmp/fio.out
  equal $crash_name "$status $(grep -c 'err= 0' /tmp/fio.out)" "0 2"
  stop
}

recovery() {
  rm -f /tmp/disk
  crash_under_load crash file:/tmp/disk,size=64M queues=2 reactors=2

  # Every request that the device takes is held by the server that dies: nothing of the queue is idle.
  start file:/tmp/disk queues=1 depth=8 copy-mode=copy && {
    check drain tell DRAINED drain
    fio --name=all --filename=$dev --rw=randwrite --bs=4k --size=1M --ioengine=libaio --iodepth=32 --direct=1 --verify=crc32c --randseed=3 >/tmp/fio.out 2>&1 &
    load=$!
    within 30 sh -c "[ \$(awk '{ print \$1 + \$2 }' /sys/block/${dev#/dev/}/inflight) -ge 8 ]"
    equal all-tags "$(awk '{ print $1 + $2 }' /sys/block/${dev#/dev/}/inflight)" 8
    crash
    start file:/tmp/disk queues=1 depth=8 && {
      wait $load
      equal crash-all-tags $? 0
      stop
    }
  }

  # An orphan is found and deleted.
  start file:/tmp/disk id=gone volume=gone && {
    number=${dev#/dev/ublkb}
    refuse delete-live tell DELETED "delete $number"
    crash
    check delete-orphan tell DELETED "delete $number"
    tell LISTED list
    equal no-device "$(tail -n 1 $out)" "LISTED 0"
  }
}

# Where the kernel can do it, requests fail while there is no server, and succeed again afterwards.
failing() {
  rm -f /tmp/disk
  if [ $fail_io = no ]; then
    refuse fail-io-too-old tell READY "serve file:/tmp/disk,size=32M recovery=fail"
    return
  fi
  start file:/tmp/disk,size=32M recovery=fail || return
  check fail-io-before dd if=/dev/zero of=$dev bs=4k count=1 oflag=direct
  crash
  within 30 sh -c "! dd if=/dev/zero of=$dev bs=4k count=1 oflag=direct"
  refuse fail-io-meanwhile timeout 20 dd if=/dev/zero of=$dev bs=4k count=1 oflag=direct
  start file:/tmp/disk recovery=fail || return
  check fail-io-after dd if=/dev/zero of=$dev bs=4k count=1 oflag=direct
  stop

  # A null volume fills nothing: its reads must not show what the kernel's memory held.
  start null:32M queues=1 && {
    grep -q "reads are copied" $out && pass null-mode "$(grep -m 1 NOTE $out)" || fail null-mode "$(grep NOTE $out)"
    check null-reads-zeroes sh -c "cmp -n 1048576 $dev /dev/zero"
    stop
  }
}

stopping() {
  rm -f /tmp/disk
  start file:/tmp/disk,size=32M || return
  exec 7<$dev
  refuse stop-open stop
  grep -q "opened by\|has it open" $out && pass stop-open-reason "$(grep ERROR $out)" || fail stop-open-reason
  exec 7<&-

  # A successor: the consumer waits meanwhile. A process that stays must let go, too, where the kernel can do that.
  dd if=/dev/urandom of=/tmp/pattern bs=1M count=4 2>/dev/null
  for way in $handovers; do
    sh -c "dd if=/tmp/pattern of=$dev bs=4k oflag=direct 2>&1; echo status=\$?" >/tmp/dd.out &
    writer=$!
    usleep 200000
    check $way tell HANDED $way
    old=$host_pid
    host_pid=
    start file:/tmp/disk || return
    wait $writer
    equal $way-status "$(tail -n 1 /tmp/dd.out)" "status=0"
    equal $way-data "$(sum $dev 4194304)" "$(sum /tmp/pattern 4194304)"
    kill -9 $old 2>/dev/null
  done

  check drain-idle tell DRAINED drain
  dd if=$dev of=/dev/null bs=4k count=1 iflag=direct 2>/dev/null &
  reader=$!
  usleep 500000
  check drain-holds test -d /proc/$reader
  check resume tell RESUMED resume
  check drain-releases wait $reader
  stop
}

sizes() {
  rm -f /tmp/disk
  start file:/tmp/disk,size=32M || return
  truncate -s 48M /tmp/disk
  if [ $resize = yes ]; then
    check resize tell RESIZED resize
    equal resized "$(blockdev --getsize64 $dev)" 50331648
    check write-beyond dd if=/dev/zero of=$dev bs=1M seek=40 count=4 oflag=direct conv=notrunc
  else
    refuse resize-too-old tell RESIZED resize
  fi
  stop
}

zero_copies() {
  for case in zero::'zero copy: ' hybrid:fake=writes:'zero copy for reads' late:fake=late:'zero copy: '; do
    kind=${case%%:*}
    option=$(echo "$case" | cut -d: -f2)
    start /dev/nullb0 queues=2 reactors=2 ${option:-id=zero} || continue
    grep -q "NOTE ${case#*:*:}" $out && pass mode-$kind "$(grep -m 1 NOTE $out)" || fail mode-$kind "$(grep NOTE $out)"
    verify zero-copy-$kind --numjobs=2 --offset_increment=4M
    stop
  done
  crash_under_load zero-copy-crash /dev/nullb0 queues=2 reactors=2
}

# Arrays over real block devices, healthy and while they lose members.
arrays() {
  for level in $levels; do
    start "$level=/dev/nullb0;/dev/nullb1;/dev/nullb2;/dev/nullb3" new queues=2 reactors=2 || continue
    grep NOTE $out
    [ $level != raid5 ] || [ $zero_copy = no ] || check raid5-mode grep -q "zero copy for reads" $out
    verify array-$level --numjobs=2 --offset_increment=4M
    if [ $level != raid0 ]; then
      check settle-$level tell SETTLED settle
      tell FAILED "fail 2"
      [ $level != raid6 ] || tell FAILED "fail 0"
      verify reconstruct-$level --numjobs=2 --offset_increment=4M --verify_only=1
      verify degraded-$level --numjobs=2 --offset_increment=4M --randseed=8
      tell HEALTH health
      equal health-$level "$(tail -n 1 $out)" "HEALTH Degraded"
    fi
    check stop-$level stop
  done
}

# A RAID-5 array by the command line: killed under load, recovered by "ublk recover"; all that was written is then read with a drive missing,
# which shows that parity is right, too, after requests were served twice.
array_crash() {
  stock 2
  check create-raid5 polyblk volume create data --level raid5 --size 24MiB --force /dev/nullb0 /dev/nullb1 /dev/nullb2 /dev/nullb3
  serve_data --queues 2 || return
  written="--filename=$dev --bsrange=4k-64k --size=3M --verify=crc32c --verify_fatal=1 --randseed=13 --ioengine=libaio --iodepth=16 --direct=1"
  fio --name=load --rw=randwrite $written --rate_iops=30 >/tmp/fio.out 2>&1 &
  load=$!
  more ${dev#/dev/} 20
  kill_server
  test -d /proc/$load && pass raid5-crash-load || fail raid5-crash-load "fio ended before the crash"
  take_spare
  order $serving /tmp/data.ready /tmp/data.err polyblk $state ublk recover
  wait $load
  equal raid5-crash $? 0
  for try in $(seq 100); do optimal && break; sleep 1; done
  check optimal optimal
  check end-raid5 end_serving
  dd if=/dev/zero of=/dev/nullb2 bs=1M oflag=direct 2>/dev/null
  serve_data --queues 2 || return
  check raid5-parity-after-crash fio --name=load --rw=randwrite $written --verify_only=1 --minimal
  verify degraded-raid5-served
  check end-degraded-raid5 end_serving
  rm -r /tmp/pb
}

# The device of an ordinary user. A udev rule's work, giving the nodes to him, is done by a loop here.
unprivileged() {
  [ -z "$host_pid" ] || kill -9 $host_pid
  chmod 666 /dev/ublk-control
  chmod a+rx / /bin /dev
  chmod -R a+rX /usr /opt /lib*
  rm -rf /tmp/state /run/polyblk
  while usleep 50000; do chown 1000 /dev/ublk[bc]* 2>/dev/null; done &
  helper=$!
  mkdir -p /run/polyblk && chmod 777 /run/polyblk
  HOME=/tmp launch /usr/bin/setpriv --reuid=1000 --regid=1000 --clear-groups && start ram:16M unprivileged queues=1 && {
    verify unprivileged
    check stop-unprivileged stop
  }
  kill -9 $host_pid
  host_pid=
  kill $helper
  chmod 600 /dev/ublk-control
  rm -rf /tmp/state /run/polyblk
}

leaks() {
  check cycle-100 tell CYCLED "cycle ram:16M 100 queues=2 reactors=2"
  equal devices-left "$(ls /dev/ublk[bc]* 2>/dev/null | wc -l)" 0
}

mkdir -p /mnt/a
for m in ublk_drv ext4 xfs; do modprobe $m; done
# Four small drives in the kernel's memory, /dev/nullb0 to 3.
modprobe null_blk nr_devices=0
[ -d /sys/kernel/config/nullb ] || mount -t configfs none /sys/kernel/config
for i in 0 1 2 3; do
  drive=/sys/kernel/config/nullb/nullb$i
  mkdir $drive
  for setting in size=64 memory_backed=1 discard=1 blocksize=512 power=1; do echo ${setting#*=} >$drive/${setting%=*}; done
done
[ -b /dev/nullb3 ] || fail drives
for part in $parts; do
  began=$(cut -d. -f1 /proc/uptime)
  $part
  echo "PART $part took $(($(cut -d. -f1 /proc/uptime) - began)) s"
done
dmesg | grep -E 'ublk|BUG:|WARNING:' | tail -n 20
pass done
exit 0
