# The guest's part (Program.cs tells the whole): one array after the other over the same disks, healthy, without a member, and while
# that is filled again. Busybox sh, after lib.sh. Program.cs sets DISKS (slots), SECONDS_EACH (of a load), SLOW and SLOWER (bytes a second), FILL_BYTES
# (of a member) and calls.
for m in virtio_blk raid456 ublk_drv; do modprobe $m; done
disks=
for slot in $DISKS; do
  found=$(disk $slot) || exit 1
  disks="$disks $found"
done
polyblk() { /opt/polyblk/polyblk --state /tmp/state "$@"; }

# members COUNT: sets $members to the first disks, and $lost to the second.
members() {
  members=$(echo $disks | cut -d ' ' -f "1-$1")
  lost=$(echo $disks | cut -d ' ' -f 2)
}

# load WHAT READS...: so many seconds of random requests of 4 KiB, 32 in flight; signals what they came to.
load() {
  fio --thread --clocksource=clock_gettime --name=load --ioengine=libaio --direct=1 --iodepth=32 --bs=4k --rw=rand$2 --filename=$device \
    --time_based --runtime=$SECONDS_EACH --ramp_time=1 --randrepeat=0 --norandommap --output-format=terse --terse-version=3 >/tmp/fio.out 2>&1 \
    || { cat /tmp/fio.out; exit 1; }
  # Terse fields: 8 and 49 are the requests a second of reads and writes.
  signal $name.$1 "$(tail -n 1 /tmp/fio.out | awk -F ';' '{ print $8 + $49 }')"
}

now_ms() { read -r up _ </proc/uptime; echo "${up%.*}${up#*.}0"; }

# What differs between the two: make, lose and fill a member, how far that is, how fast it may be.
make_md() {
  case $3 in ppl) policy='--bitmap=none --consistency-policy=ppl' ;; *) policy='--bitmap=internal' ;; esac
  mdadm --create /dev/md0 --run --metadata=1.2 --assume-clean --level=$1 --raid-devices=$2 --chunk=64 $policy $members || exit 1
  device=/dev/md0
}
lose_md() { mdadm /dev/md0 --fail $lost; within 20 mdadm /dev/md0 --remove $lost || exit 1; }
fill_md() {
  mdadm --zero-superblock $lost
  mdadm /dev/md0 --add $lost || exit 1
}
# Bytes of the member that are filled; all of them where it is whole.
filled_md() { if is_whole_md; then echo $FILL_BYTES; else read -r done _ </sys/block/md0/md/sync_completed; echo $((done * 512)); fi; }
is_whole_md() { [ "$(cat /sys/block/md0/md/degraded)" = 0 ] && [ "$(cat /sys/block/md0/md/sync_action)" = idle ]; }
rate_md() { echo $(($1 / 1024)) >/sys/block/md0/md/sync_speed_max; echo $((($1 < 1024000 ? $1 : 1024000) / 1024)) >/sys/block/md0/md/sync_speed_min; }
end_md() { mdadm --stop /dev/md0; mdadm --zero-superblock $members; }

make_polyblk() {
  more=
  policy=$3
  case $3 in *+checksums) policy=${3%+checksums} more=--checksums ;; esac
  polyblk volume create v --force --level raid$1 --chunk 64KiB --consistency $policy $more $members || exit 1
  rm -f /tmp/ready
  /opt/polyblk/polyblk --state /tmp/state serve v --json --no-rebuild --frontend ublk --number 0 --queues 1 >/tmp/ready 2>/tmp/err &
  server=$!
  within 60 test -s /tmp/ready || { cat /tmp/err; exit 1; }
  device=/dev/ublkb0
  # A new array is resynced in the background, which is not what is measured.
  within 600 is_whole_polyblk || exit 1
}
lose_polyblk() { polyblk volume fail v $lost || exit 1; }
fill_polyblk() { polyblk volume replace v 1 $lost --force || exit 1; }
filled_polyblk() {
  polyblk volume show v --json >/tmp/shown
  if grep -q '"health": "optimal"' /tmp/shown; then
    echo $FILL_BYTES
  else
    sed -n '/"rebuild": {/,/}/s/.*"doneBytes": \([0-9]*\).*/\1/p' /tmp/shown | head -n 1
  fi
}
is_whole_polyblk() { polyblk volume show v --json | grep -q '"health": "optimal"'; }
rate_polyblk() { polyblk volume set v --rebuild-rate $(($1 == 1024000000 ? 0 : $1)) >/dev/null || exit 1; }
end_polyblk() { kill -TERM $server; wait $server || { cat /tmp/err; exit 1; }; polyblk volume delete v --wipe || exit 1; }

# A rate that the disks do not reach.
FULL=1024000000

# measure NAME KIND LEVEL COUNT POLICY
measure() {
  name=$1 kind=$2
  members $4
  make_$kind $3 $4 $5
  rate_$kind $FULL
  # Every block is there: nothing is read that was never written.
  dd if=/dev/zero of=$device bs=1M oflag=direct 2>/dev/null
  load healthy-read read
  load healthy-write write
  lose_$kind
  load degraded-read read
  load degraded-write write

  # Nobody else is there; then beside a load that reads and writes, at three rates.
  began=$(now_ms)
  fill_$kind
  within 600 is_whole_$kind || exit 1
  signal $name.fill-ms $(($(now_ms) - began))
  for rate in full slow slower; do
    lose_$kind
    case $rate in full) rate_$kind $FULL ;; slow) rate_$kind $SLOW ;; slower) rate_$kind $SLOWER ;; esac
    began=$(now_ms)
    fill_$kind
    load beside-$rate rw
    filled=$(filled_$kind)
    signal $name.filled-$rate $((${filled:-0} / ($(now_ms) - began)))
    rate_$kind $FULL
    within 600 is_whole_$kind || exit 1
  done
  end_$kind
}
