# A volume of the real command in a guest, with file systems on it; the rest of the ublk checks is in ublk.sh, which this is a part of.

state='--state /tmp/pb'

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
degraded() { polyblk volume show data | grep -q degraded; }

# copies: the sample and a larger file.
copies() { mkdir -p $1 && cp $sample/* /tmp/mebibyte $1; }

# A RAID-5 array by the real command, with ext4 and then XFS on it: kills while a tree is copied and under load, stops refused and forced,
# recovery by "serve" and by "ublk recover", a drive that fails, an orphan listed and deleted.
volume() {
  begin_samples
  check create-raid5 polyblk volume create data --level raid5 --size 64MiB --force /dev/nullb0 /dev/nullb1 /dev/nullb2 /dev/nullb3
  serve_data --queues 2 || return
  check mkfs-ext4 mkfs_ext4 $dev
  check mount-ext4 mount -t ext4 $dev /mnt/a
  rm -f /tmp/copied
  (copies /mnt/a/host && sync && until [ -e /tmp/copied ]; do copies /mnt/a/more && sync || exit; done) &
  copy=$!
  more ${dev#/dev/} 10
  stall nullb0 nullb1 nullb2 nullb3
  check copy-waits within 400 waiting ${dev#/dev/} 1
  kill_server
  touch /tmp/copied
  first=$dev
  serve_data --queues 2 || return
  equal serve-same-device "$dev" "$first"
  check copy-over-crash wait $copy
  rm -rf /mnt/a/more
  sync
  check fstrim-ext4 fstrim -v /mnt/a
  drop_caches
  copies /tmp/copies
  tree=$(tree /tmp/copies)
  equal tree-ext4 "$(tree /mnt/a/host)" "$tree"
  refuse stop-mounted-ext4 polyblk volume stop data
  grep -q "mounted at /mnt/a" /tmp/.check && pass stop-mounted-reason || fail stop-mounted-reason "$(cat /tmp/.check)"
  cp /tmp/mebibyte /mnt/a/late
  check stop-forced polyblk volume stop data --force
  wait $server
  umount /mnt/a
  equal forced-away "$(ls /dev/ublkb* 2>/dev/null | wc -l)" 0
  serve_data --queues 2 || return
  mount -t ext4 $dev /mnt/a
  check forced-data cmp /tmp/mebibyte /mnt/a/late
  check umount-ext4 umount /mnt/a
  check fsck-ext4 e2fsck -fn $dev

  check discard-all blkdiscard $dev
  check mkfs-xfs mkfs_xfs $dev
  check mount-xfs mount -t xfs $dev /mnt/a
  copies /mnt/a/host
  copies /mnt/a/more
  sync
  rm -rf /mnt/a/more
  check fstrim-xfs fstrim -v /mnt/a
  refuse stop-mounted-xfs polyblk volume stop data
  check still-served-xfs touch /mnt/a/file

  # All that is written under the crash is read with a drive missing afterwards: parity is right, too, after requests were served twice.
  written="--filename=/mnt/a/load --rw=randwrite --bsrange=4k-64k --size=3M --iodepth=16"
  begin_load load $written --fallocate=none
  more ${dev#/dev/} 20
  stall nullb0 nullb1 nullb2 nullb3
  check raid5-crash-load within 400 in_flight 8 1
  kill_server
  touch /tmp/load.over
  check list-orphan orphans
  begin_serving data ublk recover
  check raid5-crash end_load load
  for try in $(seq 100); do optimal && break; sleep 1; done
  check optimal optimal

  echo +0-$last_sector >/sys/kernel/config/nullb/nullb2/badblocks
  drop_caches
  equal tree-xfs-degraded "$(tree /mnt/a/host)" "$tree"
  check raid5-parity-after-crash load_again load $written --verify_only=1 --minimal
  check degraded degraded
  copies /mnt/a/late
  drop_caches
  equal tree-written-degraded "$(tree /mnt/a/late)" "$tree"
  rm -rf /mnt/a/host
  check fstrim-degraded fstrim -v /mnt/a
  check umount-xfs umount /mnt/a
  check fsck-xfs-degraded fsck_xfs $dev

  kill_server
  check delete polyblk ublk delete ${dev#/dev/ublkb}
  equal deleted "$(ls /dev/ublk[bc]* 2>/dev/null | wc -l)" 0
  rm -r /tmp/pb
  drives
}
