# The ublk checks, run in a guest. $zero_copy and $resize say whether this kernel has these features, $quiesce how a process that goes
# on living hands a device over, $levels which arrays to make, $parts what to do.

host="dotnet /opt/host/Polyblk.UblkTestHost.dll"

# start NAME DRIVE OPTION...: a server in the background, obeying /tmp/NAME.in; sets $dev when it is ready.
start() {
  name=$1
  shift
  rm -f /tmp/$name.in
  mkfifo /tmp/$name.in
  : >/tmp/$name.out
  $host serve "$@" <>/tmp/$name.in >>/tmp/$name.out 2>&1 &
  echo $! >/tmp/$name.pid
  within 300 grep -qE '^(READY|ERROR)' /tmp/$name.out
  cat /tmp/$name.out
  dev=$(sed -n 's/^READY \([^ ]*\).*/\1/p' /tmp/$name.out)
  [ -b "$dev" ] || { fail "start-$name" "$(tail -n 1 /tmp/$name.out)"; return 1; }
}

# tell NAME LINE ANSWER: sends a line to a server and waits for its answer.
tell() {
  : >/tmp/$1.out
  echo "$2" >/tmp/$1.in
  within 300 grep -qE "^($3|ERROR)" /tmp/$1.out
  cat /tmp/$1.out
  grep -q "^$3" /tmp/$1.out
}

stop() { tell $1 stop STOPPED && within 120 sh -c "! test -d /proc/$(cat /tmp/$1.pid)"; }
crash() { kill -9 $(cat /tmp/$1.pid); }
queue() { cat /sys/block/$(basename $dev)/queue/$1; }

# verify NAME FIO-OPTION...: random writes of mixed sizes, all of them read back and checked.
verify() {
  job=$1
  shift
  check $job fio --name=$job --filename=$dev --rw=randwrite --bsrange=4k-64k --size=4M --ioengine=libaio --iodepth=16 --direct=1 \
    --verify=crc32c --verify_fatal=1 --randseed=7 --minimal "$@"
}

basics() {
  check probe $host probe
  start ram ram:64M queues=1 copy-mode=copy && {
    verify copy-1-queue
    equal link "$(readlink /run/polyblk/ublk/data)" "$dev"
    equal volatile-cache "$(queue write_cache)" "write through"
    equal logical-block "$(queue logical_block_size)" 512
    check discard-limit test "$(queue discard_max_bytes)" -gt 0
    check zeroes-limit test "$(queue write_zeroes_max_bytes)" -gt 0
    check zeroes sh -c "dd if=/dev/urandom of=$dev bs=64k count=16 oflag=direct && /usr/sbin/blkdiscard -z -l 1048576 $dev && cmp -n 1048576 $dev /dev/zero"
    check discard blkdiscard $dev
    check statistics tell ram stats STATS
    stop ram && pass stop-idle
  }
  start ram ram:64M queues=4 reactors=2 depth=32 copy-mode=user-copy && {
    equal queues "$(ls /sys/block/$(basename $dev)/mq | wc -l)" 4
    verify user-copy-4-queues --numjobs=4 --offset_increment=4M
    stop ram
  }
  start ram ram:64M,block-size=4096 queues=4 reactors=2 && {
    equal block-4096 "$(queue logical_block_size)" 4096
    verify copy-4-queues --numjobs=4 --offset_increment=4M
    refuse unaligned dd if=/dev/zero of=$dev bs=512 count=1 oflag=direct
    stop ram
  }
  start ram ram:8M read-only && {
    equal read-only "$(cat /sys/block/$(basename $dev)/ro)" 1
    refuse write-read-only dd if=/dev/zero of=$dev bs=4k count=1 oflag=direct
    check read-read-only dd if=$dev of=/dev/null bs=64k iflag=direct
    stop ram
  }
}

# filesystem TYPE: a tree that is copied, trimmed and checked survives the server's restart.
filesystem() {
  rm -f /tmp/disk
  start fs file:/tmp/disk,size=400M queues=2 || return
  case $1 in
    ext4) check mkfs-$1 mkfs.ext4 -q -F $dev ;;
    xfs) check mkfs-$1 mkfs.xfs -q -f $dev ;;
  esac
  mkdir -p /mnt/a
  check mount-$1 mount -t $1 $dev /mnt/a
  cp -r /usr/share/dotnet/host /opt/host /mnt/a/
  before=$(cd /mnt/a && find . -type f -exec sha256sum {} + | sort | sha256sum)
  sync
  rm -rf /mnt/a/opt
  check fstrim-$1 fstrim -v /mnt/a
  refuse stop-mounted-$1 stop fs
  check still-served-$1 touch /mnt/a/file
  rm /mnt/a/file
  check umount-$1 umount /mnt/a
  within 120 stop fs
  start fs file:/tmp/disk queues=2 || return
  case $1 in
    ext4) check fsck-$1 e2fsck -fn $dev ;;
    xfs) check fsck-$1 xfs_repair -n $dev ;;
  esac
  mount -t $1 $dev /mnt/a
  equal tree-$1 "$(cd /mnt/a && find . -type f -exec sha256sum {} + | sort | sha256sum)" "$before"
  umount /mnt/a
  within 120 stop fs
}

# crash_under_load NAME OPTION...: kill -9, twice if time allows, while fio writes and verifies; it must only wait.
crash_under_load() {
  crash_name=$1
  drive=$2
  shift 2
  start load $drive "$@" || return
  first=$dev
  fio --name=load --filename=$dev --rw=randrw --bsrange=4k-32k --size=16M --ioengine=libaio --iodepth=16 --direct=1 --numjobs=2 --offset_increment=16M \
    --verify=crc32c --verify_fatal=1 --randseed=11 --rate_iops=50 >/tmp/fio.out 2>&1 &
  load=$!
  for round in 1 2; do
    sleep 2
    # On a fast machine the load may be done before the second crash.
    [ $round = 2 ] && ! test -d /proc/$load && break
    crash load
    sleep 1
    test -d /proc/$load || { fail $crash_name-load "fio ended before the crash: $(tail -n 3 /tmp/fio.out)"; return; }
    check $crash_name-orphan-$round sh -c "$host list | grep orphan=True"
    start load $drive "$@" || return
    equal $crash_name-same-device-$round "$dev" "$first"
  done
  wait $load
  status=$?
  tail -n 25 /tmp/fio.out
  equal $crash_name "$status $(grep -c 'err= 0' /tmp/fio.out)" "0 2"
  within 120 stop load
}

recovery() {
  rm -f /tmp/disk
  crash_under_load crash file:/tmp/disk,size=64M queues=2 reactors=2

  # Every tag is held by the server that dies: nothing of the queue is idle.
  start all file:/tmp/disk queues=1 depth=4 copy-mode=copy && {
    check drain tell all drain DRAINED
    fio --name=all --filename=$dev --rw=randwrite --bs=4k --size=1M --ioengine=libaio --iodepth=16 --direct=1 --verify=crc32c --randseed=3 >/tmp/fio.out 2>&1 &
    load=$!
    sleep 2
    crash all
    start all file:/tmp/disk queues=1 depth=4 && {
      wait $load
      equal crash-all-tags $? 0
      within 120 stop all
    }
  }

  # An orphan is found and deleted.
  start gone file:/tmp/disk id=gone volume=gone && {
    number=${dev#/dev/ublkb}
    refuse delete-live $host delete $number
    crash gone
    within 120 sh -c "$host list | grep quiesced"
    check delete-orphan $host delete $number
    equal no-device "$($host list | wc -l)" 0
  }
}

stopping() {
  rm -f /tmp/disk
  start busy file:/tmp/disk,size=32M || return
  exec 7<$dev
  refuse stop-open stop busy
  grep -q "opened by\|has it open" /tmp/busy.out && pass stop-open-reason "$(grep ERROR /tmp/busy.out)" || fail stop-open-reason
  exec 7<&-
  mkfs.ext4 -q -F $dev
  mount -t ext4 $dev /mnt/a
  cp /opt/host/* /mnt/a/
  check force tell busy force STOPPED
  umount /mnt/a
  equal forced-away "$(ls /dev/ublkb* 2>/dev/null | wc -l)" 0
  start busy file:/tmp/disk && {
    mount -t ext4 $dev /mnt/a
    check forced-data sh -c 'for f in /opt/host/*; do cmp $f /mnt/a/$(basename $f) || exit 1; done'
    umount /mnt/a

    # A successor: the consumer waits meanwhile. A process that stays must let go, too, where the kernel can do that.
    dd if=/dev/urandom of=/tmp/pattern bs=1M count=8 2>/dev/null
    for way in handover $quiesce; do
      sh -c "dd if=/tmp/pattern of=$dev bs=4k oflag=direct 2>&1; echo status=\$?" >/tmp/dd.out &
      writer=$!
      usleep 300000
      check $way tell busy $way HANDED
      old=$(cat /tmp/busy.pid)
      start busy file:/tmp/disk || return
      wait $writer
      equal $way-status "$(tail -n 1 /tmp/dd.out)" "status=0"
      equal $way-data "$(sum $dev 8388608)" "$(sum /tmp/pattern 8388608)"
      kill -9 $old 2>/dev/null
    done

    check drain-idle tell busy drain DRAINED
    dd if=$dev of=/dev/null bs=4k count=1 iflag=direct 2>/dev/null &
    reader=$!
    usleep 500000
    check drain-holds test -d /proc/$reader
    check resume tell busy resume RESUMED
    check drain-releases wait $reader
    within 120 stop busy
  }
}

sizes() {
  rm -f /tmp/disk
  start size file:/tmp/disk,size=32M || return
  truncate -s 48M /tmp/disk
  if [ $resize = yes ]; then
    check resize tell size "resize" RESIZED
    equal resized "$(blockdev --getsize64 $dev)" 50331648
    check write-beyond dd if=/dev/zero of=$dev bs=1M seek=40 count=4 oflag=direct conv=notrunc
  else
    refuse resize-too-old tell size "resize" RESIZED
  fi
  within 120 stop size
}

zero_copies() {
  modprobe null_blk nr_devices=1 memory_backed=1 discard=1 gb=1 bs=512
  for case in zero::'zero copy: ' hybrid:fake=writes:'zero copy for reads' late:fake=late:'zero copy: '; do
    kind=${case%%:*}
    option=$(echo "$case" | cut -d: -f2)
    start zc /dev/nullb0 queues=2 reactors=2 ${option:-id=zero} || continue
    grep -q "NOTE ${case#*:*:}" /tmp/zc.out && pass mode-$kind "$(grep -m 1 NOTE /tmp/zc.out)" || fail mode-$kind "$(grep NOTE /tmp/zc.out)"
    verify zero-copy-$kind --numjobs=2 --offset_increment=4M
    stop zc
  done
  check zc-fill dd if=/dev/zero of=/dev/nullb0 bs=1M count=64 oflag=direct
  crash_under_load zero-copy-crash /dev/nullb0 queues=2 reactors=2
}

# serve OPTION...: the command line serves the volume "data"; sets $dev.
serve() {
  : >/tmp/serve.out
  polyblk --state /tmp/pb serve data --frontend ublk "$@" >>/tmp/serve.out 2>&1 &
  echo $! >/tmp/serve.pid
  within 300 sh -c 'test -b "$(readlink -f /tmp/pb/run/data/ublk/data)" && grep -q /dev/ublkb /tmp/serve.out || ! test -d /proc/$(cat /tmp/serve.pid)'
  dev=$(readlink -f /tmp/pb/run/data/ublk/data)
  [ -b "$dev" ] || { cat /tmp/serve.out; fail serve "$(tail -n 1 /tmp/serve.out)"; return 1; }
}

end_serve() {
  kill -TERM $(cat /tmp/serve.pid)
  within 120 sh -c '! test -d /proc/$(cat /tmp/serve.pid)' || { cat /tmp/serve.out; return 1; }
}

# Arrays by the command line, healthy and degraded, over real block devices; a crash under load; the orphan taken over.
arrays() {
  rmmod null_blk 2>/dev/null
  modprobe null_blk nr_devices=4 memory_backed=1 discard=1 gb=1 bs=512
  for level in $levels; do
    # Members whose old content does not count: a level is made anew on the same drives.
    check create-$level polyblk --state /tmp/pb volume create data --level $level --size 48MiB --force /dev/nullb0 /dev/nullb1 /dev/nullb2 /dev/nullb3 || continue
    serve --queues 2 && {
      grep -m 1 copy /tmp/serve.out
      verify array-$level --numjobs=2 --offset_increment=4M
      [ $level = raid0 ] || within 300 sh -c 'polyblk --state /tmp/pb volume show data | grep -q optimal || { sleep 2; false; }'
      case $level in
        raid5)
          cat /tmp/serve.out
          [ $zero_copy = no ] || check raid5-mode grep -q "zero copy for reads" /tmp/serve.out
          fio --name=load --filename=$dev --rw=randwrite --bsrange=4k-64k --size=8M --ioengine=libaio --iodepth=16 --direct=1 --verify=crc32c \
            --randseed=13 --rate_iops=50 >/tmp/fio.out 2>&1 &
          load=$!
          sleep 2
          kill -9 $(cat /tmp/serve.pid)
          sleep 1
          check list-orphan sh -c 'polyblk --state /tmp/pb ublk list | grep "polyblk ublk recover"'
          polyblk --state /tmp/pb ublk recover >/tmp/serve.out 2>&1 &
          echo $! >/tmp/serve.pid
          wait $load
          equal raid5-crash $? 0
          ;;
      esac
      check end-$level end_serve
    }
    case $level in
      raid0) ;;
      *)
        dd if=/dev/zero of=/dev/nullb2 bs=1M count=64 oflag=direct 2>/dev/null
        serve --queues 2 && {
          verify degraded-$level --numjobs=2 --offset_increment=4M
          check end-degraded-$level end_serve
        }
        ;;
    esac
    polyblk --state /tmp/pb volume delete data --wipe
    for i in 0 1 2 3; do dd if=/dev/zero of=/dev/nullb$i bs=1M count=64 oflag=direct 2>/dev/null; done
  done
}

# The device of an ordinary user. A udev rule's work, giving the nodes to him, is done by a loop here.
unprivileged() {
  echo 'user:x:1000:1000::/tmp:/bin/sh' >>/etc/passwd
  chmod 666 /dev/ublk-control
  rm -rf /tmp/state /run/polyblk
  while usleep 50000; do chown 1000 /dev/ublk[bc]* 2>/dev/null; done &
  helper=$!
  root_host=$host
  host="setuidgid user $host"
  export HOME=/tmp
  mkdir -p /run/polyblk && chmod 777 /run/polyblk
  start user ram:16M unprivileged queues=1 && {
    verify unprivileged
    check stop-unprivileged stop user
  }
  host=$root_host
  kill $helper
  chmod 600 /dev/ublk-control
  rm -rf /tmp/state /run/polyblk
}

own_device() {
  refuse own-device $host nest ram:16M
  grep -q "wait for itself" /tmp/.check && pass own-device-reason || fail own-device-reason "$(tail -n 1 /tmp/.check)"
}

leaks() {
  check cycle-100 $host cycle ram:16M 100 queues=2 reactors=2
  equal devices-left "$(ls /dev/ublk[bc]* 2>/dev/null | wc -l)" 0
}

mkdir -p /mnt/a
for m in ublk_drv ext4 xfs; do modprobe $m; done
filesystems() { filesystem ext4; filesystem xfs; }
for part in $parts; do
  $part
done
dmesg | grep -E 'ublk|BUG:|WARNING:' | tail -n 20
pass done
exit 0
