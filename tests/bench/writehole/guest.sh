# The guest's part (Program.cs tells the whole): arrays over slices of the same disks are made and filled, written until the power
# goes, and read back without a member. Busybox sh, after lib.sh. Program.cs sets SPAN (MiB of each array that are filled), ARRAYS
# (how many), MEMBERS (slots of the member disks), PATTERN or BACK (the slot of one more), and calls.
echo 1 >/sys/kernel/rcu_expedited
for m in virtio_blk raid456 ublk_drv; do modprobe $m; done

# use SLOT...: the member disks from here on, and a place for records of what is on them. $turn counts the calls from 0 on.
turn=-1
use() {
  turn=$((turn + 1)) disks=
  for slot; do
    found=$(disk $slot) || exit 1
    disks="$disks $found"
  done
}
polyblk() { /opt/polyblk/polyblk --state /tmp/state$turn "$@"; }
use $MEMBERS

# parts NUMBER COUNT [WITHOUT]: sets $parts to the members of an array, but those in WITHOUT (as in 0,3). Each array begins with
# another disk, so that all disks have as much to do. Logical partitions begin at 5.
parts() {
  parts='' i=$((-($1 % 5)))
  for found in $disks $disks; do
    if [ $i -ge 0 ] && [ $i -lt $2 ]; then
      case ",$3," in *,$i,*) ;; *) parts="$parts $found$(($1 + 4))" ;; esac
    fi
    i=$((i + 1))
  done
}

# serve NUMBER OPTION...: serves volume vNUMBER as /dev/ublkbNUMBER, and waits until it is ready.
serve() {
  served=v$1 number=$1
  shift
  rm -f /tmp/$served.ready
  /opt/polyblk/polyblk --state /tmp/state$turn serve $served --json --no-rebuild --idle frugal "$@" \
    --frontend ublk --number $number --queues 1 >/tmp/$served.ready 2>/tmp/$served.err &
  server=$!
  until read -r ready 2>/dev/null </tmp/$served.ready; do
    [ -d /proc/$server ] || { tail -n 1 /tmp/$served.err; return 1; }
    usleep 100000
  done
}

# end_serving: ends the last server in order.
end_serving() {
  kill -TERM $server
  wait $server || { cat /tmp/$served.err; return 1; }
}

is_optimal() { polyblk volume show $1 --json | grep -q '"health": "optimal"'; }

# is_started NUMBER: whether md has started the array.
is_started() { case $(cat /sys/block/md$1/md/array_state 2>/dev/null) in '' | clear | inactive) return 1 ;; esac; }

# device KIND NUMBER
device() { case $1 in md) echo /dev/md$2 ;; *) echo /dev/ublkb$2 ;; esac; }

# make NUMBER KIND LEVEL COUNT POLICY: makes the array, fills it with the pattern, stops it in order.
make() {
  parts $1 $4
  if [ $2 = md ]; then
    case $5 in
      bitmap) policy='--bitmap=internal' ;;
      resync) policy='--bitmap=none' ;;
      *) policy="--bitmap=none --consistency-policy=$5" ;;
    esac
    check make$1 mdadm --create /dev/md$1 --run --metadata=1.2 --assume-clean --level=$3 --raid-devices=$4 --chunk=64 $policy \
      $parts || exit 1
    echo "policy: $(cat /sys/block/md$1/md/consistency_policy)"
  else
    check make$1 polyblk volume create v$1 --level raid$3 --chunk 64KiB --consistency $5 $parts || exit 1
    serve $1 || exit 1
    within 120 is_optimal v$1 || exit 1
  fi
  check fill$1 dd if=$(disk $PATTERN) of=$(device $2 $1) bs=1M count=$SPAN oflag=direct conv=notrunc,fsync || exit 1
  if [ $2 = md ]; then
    check stop$1 mdadm --stop /dev/md$1 || exit 1
  else
    end_serving || exit 1
  fi
}

# start NUMBER KIND LEVEL COUNT POLICY: assembles the array, whole, for the load.
load='fio --thread --clocksource=clock_gettime --ioengine=libaio --direct=1 --iodepth=64 --replay_no_stall=1'
targets=
start() {
  parts $1 $4
  if [ $2 = md ]; then
    check start$1 mdadm --assemble /dev/md$1 $parts || exit 1
  else
    check import$1 polyblk volume import --name v$1 $parts || exit 1
    serve $1 || exit 1
  fi
  load="$load --name=a$1 --read_iolog=/load/$1 --replay_redirect=$(device $2 $1)"
  targets="$targets $(basename $(device $2 $1))"
}

# write: writes to all arrays at once, and says so when each has taken some. The host then pulls the plug.
write() {
  $load >/tmp/fio.out 2>&1 &
  writer=$!
  for target in $targets; do
    until read -r _ _ _ _ writes _ </sys/block/$target/stat && [ $writes -ge 100 ]; do
      [ -d /proc/$writer ] || { tail -n 20 /tmp/fio.out; exit 1; }
      usleep 50000
    done
  done
  signal writing
  wait $writer
  cat /tmp/fio.out
  signal over
  exit 1
}

# examine NUMBER KIND LEVEL COUNT POLICY WITHOUT: assembles the array without members, by force only where it is refused, and
# reads it all. Signals 'arrayTURN.NUMBER asked|forced|kernel|refused MESSAGE' (kernel: forced in the kernel as well; refused: not
# to be had at all).
examine() {
  parts $1 $4 $6
  echo "examine $2 raid$3 $5, without $6: $parts"
  how=asked said=
  if [ $2 = md ]; then
    mdadm --assemble --run /dev/md$1 $parts >/tmp/said 2>&1
    cat /tmp/said
    if ! is_started $1; then
      how=forced said=$(tr '\n' ' ' </tmp/said)
      mdadm --stop /dev/md$1
      mdadm --assemble --run --force /dev/md$1 $parts
    fi
    if ! is_started $1; then
      how=kernel
      mdadm --stop /dev/md$1
      echo 1 >/sys/module/md_mod/parameters/start_dirty_degraded
      mdadm --assemble --run --force /dev/md$1 $parts
      echo 0 >/sys/module/md_mod/parameters/start_dirty_degraded
    fi
    is_started $1 || how=refused
  else
    check import$1 polyblk volume import --name v$1 $parts
    if ! serve $1 --allow-degraded >/tmp/said; then
      how=forced said=$(tr '\n' ' ' </tmp/said)
      serve $1 --allow-degraded --force-assembly || how=refused
    fi
    cat /tmp/v$1.err
  fi
  [ $how = refused ] || back $(device $2 $1) $1
  signal array$turn.$1 $how "${said:0:300}"
  if [ $2 = md ]; then mdadm --stop /dev/md$1; elif [ $how != refused ]; then end_serving; fi
}

# back DEVICE NUMBER: the array's content to its place on the disk for it, in each turn another one. Blocks that cannot be read
# come as zeroes.
back() {
  place=$(((turn * ARRAYS + $2 - 1) * SPAN))
  dd if=$1 of=$out bs=1M count=$SPAN seek=$place iflag=direct oflag=direct conv=notrunc && return
  echo "array $2: some blocks cannot be read"
  dd if=$1 of=$out bs=4096 count=$((SPAN * 256)) seek=$((place * 256)) iflag=direct oflag=direct conv=notrunc,noerror,sync
}
out=
[ -z "$BACK" ] || out=$(disk $BACK) || exit 1
