# The VDUSE frontend in a guest that serves itself (busybox sh, after lib.sh, serving.sh and filesystem.sh). The test sets $levels and $parts.

# volume NAME LEVEL COUNT SIZE OPTION...: a volume of sparse files in memory.
volume() {
  members=
  for i in $(seq $3); do members="$members file:/tmp/$1.$i,size=$4"; done
  name=$1 level=$2
  shift 4
  polyblk volume create $name --level $level "$@" $members
}

# because NAME TEXT: the last refusal said so.
because() { if grep -qF -- "$2" /tmp/.check; then pass $1 "$2"; else fail $1 "not '$2' but '$(tail -n 1 /tmp/.check)'"; fi; }

# redone NAME COUNT: requests of at least so many devices were in flight when the last server's predecessor was killed, and were done again.
redone() {
  grep -o '[0-9]* requests in flight were done again' /tmp/$name.ready
  check $1 test "$(grep -o '[0-9]* requests in flight were done again' /tmp/$name.ready | grep -vc '^0 ')" -ge $2
}

# polyblk_says WORD ARGUMENT...: whether a command's output has the word.
polyblk_says() {
  word=$1
  shift
  polyblk "$@" | grep -i "$word"
}

# taken_over NAME: what the last server says about its predecessor.
taken_over() { if grep -q 'Taken over' /tmp/$name.ready; then pass $1 "$(grep -o 'Taken over[^"]*' /tmp/$name.ready)"; else fail $1; fi; }

io_errors() { dmesg | grep -ciE 'I/O error|EXT4-fs error|XFS.*(error|corrupt)|blk_update_request'; }
direct_sum() { dd if=$1 bs=1M skip=$2 count=$3 iflag=direct 2>/dev/null | sha256sum | cut -d' ' -f1; }

# nothing_left PREFIX: no disk, no device, nothing on the bus.
nothing_left() { equal $1-nothing-left "$(ls /dev/vd[a-z] /sys/bus/vdpa/devices /dev/vduse 2>/dev/null | grep -v : | xargs)" control; }

# What is said before anything is there, and to whom it is not allowed.
refusals() {
  polyblk volume create alone --level none ram:16MiB
  refuse no-module polyblk serve alone --frontend vduse
  because no-module-remedy 'modprobe vduse'
  modprobe vduse
  polyblk --state /tmp/user volume create mine --level none ram:16MiB
  chown -R 1000:1000 /tmp/user
  chmod a+rx / /bin
  chmod -R a+rX /usr /opt /lib*
  refuse not-root /usr/bin/setpriv --reuid 1000 --regid 1000 --clear-groups /opt/polyblk/polyblk --state /tmp/user serve mine --frontend vduse
  because not-root-remedy 'run as root'
  # modprobe is tried by the target itself: the module has to be out of its reach.
  module=$(find /lib/modules -name 'virtio_vdpa.ko')
  mv $module /tmp/virtio_vdpa.away
  refuse no-driver polyblk serve alone --frontend vduse --attach virtio
  because no-driver-remedy 'modprobe virtio_vdpa'
  mv /tmp/virtio_vdpa.away $module
  equal refused-leaves-nothing "$(ls /dev/vduse)" control

  # Ended while it waits for its disk, whose driver is not there yet; and failed at another frontend when the disk was there.
  begin_serving alone serve alone --frontend vduse --attach virtio
  within 120 test -e /sys/bus/vdpa/devices/alone
  name=alone
  end_serving
  nothing_left interrupted
  modules
  refuse other-frontend polyblk serve alone --frontend vduse --attach virtio --frontend nbd --socket /tmp/alone.err
  because other-frontend-reason 'is no socket'
  nothing_left other-frontend
}

# modules: what the other parts need.
modules() { for m in vduse virtio_vdpa virtio_blk ext4 xfs; do modprobe $m; done; }

# null_disks LATENCY_NS: four fresh drives of 48 MiB that can be made to fail. Slow ones keep requests in flight for a crash.
null_disks() {
  modprobe null_blk nr_devices=0
  [ -d /sys/kernel/config/nullb ] || mount -t configfs none /sys/kernel/config
  for i in 0 1 2 3; do
    d=/sys/kernel/config/nullb/nullb$i
    if [ -d $d ]; then
      echo 0 >$d/power
    else
      mkdir $d
      for setting in size=48 memory_backed=1 discard=1 blocksize=512 hw_queue_mode=2; do [ -f $d/${setting%=*} ] && echo ${setting#*=} >$d/${setting%=*}; done
    fi
    echo -0-98303 >$d/badblocks
    echo $(($1 > 0 ? 2 : 1)) >$d/irqmode
    echo $1 >$d/completion_nsec
    echo 1 >$d/power
    # A guest that stands still for a while (a busy host) must not fail its drives.
    echo 600000 >/sys/block/nullb$i/queue/io_timeout
  done
}

# verify NAME SEED: random writes of mixed sizes over one queue and over four at once, all of them read back and held against what was written.
verify() {
  check $1 fio --ioengine=libaio --direct=1 --rw=randwrite --bsrange=4k-64k --size=1M --iodepth=8 --verify=crc32c --verify_fatal=1 --randseed=$2 --minimal \
    --name=one --filename=/dev/vda --name=four --filename=/dev/vdb --offset=8M --offset_increment=4M --numjobs=4
}

# serve_level LEVEL OPTION...: with a disk of one queue (/dev/vda) and one of four (/dev/vdb) for the same volume.
serve_level() {
  served_level=$1
  shift
  serve $served_level "$@" --frontend vduse --attach virtio --queues 1 --frontend vduse --vduse-name $served_level-4 --attach virtio --queues 4
}

# killed NAME LEVEL FIO-OPTION...: kill -9 while writes of both disks are in flight. They only wait; their data is what was written.
killed() {
  what=$1 level=$2
  shift 2
  begin_load load --filename=/dev/vda --size=1M $* --name=more --filename=/dev/vdb --offset=4M --offset_increment=4M --numjobs=4 --size=1M $*
  more vdb 10
  check caught-$what catch vda vdb
  kill_server
  touch /tmp/load.over
  # Also without members that are lost: what was being written is put right from the journal.
  check serve-$what-killed serve_level $level || return
  taken_over taken-over-$what
  check killed-$what end_load load
}

# grows NAME SIZE-MIB: the volume grows under both disks, and what is written to the new room by one is read by the other.
grows() {
  check resize-$1 polyblk volume resize $level --size $2MiB
  equal resized-$1 "$(within 120 sh -c "test \$(cat /sys/block/vda/size) = $(($2 * 2048)) && test \$(cat /sys/block/vdb/size) = $(($2 * 2048))" && echo both)" both
  dd if=/tmp/sample/large of=/dev/vdb bs=64k seek=$((($2 - 2) * 16)) count=4 oflag=direct 2>/dev/null
  equal beyond-$1 "$(dd if=/dev/vda bs=64k skip=$((($2 - 2) * 16)) count=4 iflag=direct 2>/dev/null | sha256sum)" "$(head -c 262144 /tmp/sample/large | sha256sum)"
}

# Each level, healthy; then a drive fails under it.
arrays() {
  modules
  begin_samples
  for level in $levels; do
    null_disks 0
    stripe_of $level
    check create-$level polyblk volume create $level --level $level --size 24MiB --force /dev/nullb0 /dev/nullb1 /dev/nullb2 /dev/nullb3 || continue
    check serve-$level serve_level $level || continue
    equal queues-$level "$(ls /sys/block/vda/mq | wc -l) $(ls /sys/block/vdb/mq | wc -l)" '1 4'
    carries_in_turn $level /dev/vdb
    killed $level $level --rw=randwrite --bsrange=4k-64k --iodepth=8 || return
    check discard-$level blkdiscard /dev/vda
    dd if=/dev/urandom of=/dev/vda bs=1M seek=4 count=2 oflag=direct 2>/dev/null
    before=$(direct_sum /dev/vda 4 2)
    equal same-$level "$(direct_sum /dev/vdb 4 2)" "$before"
    verify healthy-$level 7
    grows $level 28
    [ $level = raid0 ] || check synced-$level within 400 grep 'resync is complete' /tmp/$level.err
    echo +0-98303 >/sys/kernel/config/nullb/nullb1/badblocks
    if [ $level = raid0 ]; then
      refuse failed-$level dd if=/dev/vda of=/dev/null bs=1M count=24 iflag=direct
    else
      verify degraded-$level 8
      equal kept-$level "$(direct_sum /dev/vdb 4 2)" "$before"
      check told-$level grep -i fail /tmp/$level.err
      killed $level-degraded $level --rw=randwrite --bs=$stripe --iodepth=4 || return
      check still-degraded-$level polyblk_says degraded volume show $level
      check discard-$level-degraded blkdiscard /dev/vda
      carries_in_turn $level-degraded /dev/vdb
      grows $level-degraded 32
    fi
    check finish-$level end_serving
  done
  nothing_left arrays
}

# A disk with file systems on it; its target ends, is killed and comes back.
filesystems() {
  modules
  errors=$(io_errors)
  begin_samples
  check create volume data raid5 3 40MiB --size 64MiB
  check create-other polyblk volume create other --level none ram:16MiB
  check serve serve data --frontend vduse --attach virtio --queues 2 --queue-size 128 || return
  equal optimal "$(cat /sys/block/vda/queue/optimal_io_size)" 131072
  check ext4 mkfs_ext4 /dev/vda

  # A container has a mount namespace of its own, and another name for the node.
  mknod /dev/xvda b $(tr : ' ' </sys/block/vda/dev)
  unshare -m sh -c 'mount -t ext4 /dev/xvda /mnt && touch /tmp/inside && exec sleep 3600' &
  container=$!
  within 120 test -f /tmp/inside
  refuse stop-mounted polyblk volume stop data
  because stop-mounted-reason 'it is mounted'
  kill $container
  wait $container

  check mount mount -t ext4 /dev/vda /mnt
  cp -a $sample /mnt/tree
  want=$sample_sum
  mkdir /mnt/rubbish && for i in 1 2 3 4 5; do cp /tmp/mebibyte /mnt/rubbish/$i; done
  drop_caches
  equal tree "$(tree /mnt/tree)" "$want"
  rm -r /mnt/rubbish
  sync
  full=$(du -k /tmp/data.1 | cut -f1)
  check fstrim fstrim -v /mnt
  check fstrim-frees test $(du -k /tmp/data.1 | cut -f1) -lt $((full - 2000))

  touch /mnt/still-served
  check handed-over end_serving
  check serve-again serve data --frontend vduse --attach virtio --queues 2 --queue-size 128
  taken_over taken-over
  drop_caches
  equal tree-after-hand-over "$(tree /mnt/tree)" "$want"

  begin_load load --filename=/mnt/load --size=2m --rw=randwrite --bs=4k --iodepth=32
  more vda 300
  check caught catch vda
  kill_server
  touch /tmp/load.over
  inflight vda
  check load-waits test $writes -gt 0
  refuse other-shape polyblk serve data --frontend vduse --attach virtio --queues 4
  because other-shape-reason 'with the same options as before'
  refuse other-volume polyblk serve other --frontend vduse --vduse-name data --queues 2 --queue-size 128
  because other-volume-reason 'is taken by an attached VDUSE device'
  check serve-after-kill serve data --frontend vduse --attach virtio --queues 2 --queue-size 128
  taken_over taken-over-after-kill
  check load-over-kill end_load load
  drop_caches
  equal tree-after-kill "$(tree /mnt/tree)" "$want"
  check umount umount /mnt
  check fsck e2fsck -fn /dev/vda

  check discard blkdiscard /dev/vda
  check xfs mkfs_xfs /dev/vda
  check mount-xfs mount -t xfs /dev/vda /mnt
  cp -a $sample /mnt/tree; umount /mnt; drop_caches; mount -t xfs /dev/vda /mnt
  equal tree-xfs "$(tree /mnt/tree)" "$want"

  before=$(cat /sys/block/vda/size)
  check resize polyblk volume resize data
  equal resized "$(within 120 sh -c "test \$(cat /sys/block/vda/size) -gt $before" && echo grown)" grown
  check write-beyond dd if=/dev/urandom of=/dev/vda bs=1M seek=66 count=4 oflag=direct

  # While nobody serves the mounted disk, a drive is lost. The kill's resync has to be done by then: without it what is lost is lost.
  check synced within 400 grep 'resync is complete' /tmp/data.err
  check handed-over-again end_serving
  mv /tmp/data.2 /tmp/lost
  check serve-degraded serve data --allow-degraded --frontend vduse --attach virtio --queues 2 --queue-size 128
  taken_over taken-over-degraded
  check told-degraded polyblk_says degraded volume show data
  drop_caches
  equal tree-degraded "$(tree /mnt/tree)" "$want"
  cp -a $sample /mnt/late
  drop_caches
  equal tree-written-degraded "$(tree /mnt/late)" "$want"
  rm -r /mnt/tree; sync
  check fstrim-degraded fstrim -v /mnt
  check umount-degraded umount /mnt
  check repair-xfs fsck_xfs /dev/vda
  equal io-errors "$(io_errors)" $errors
  check finish end_serving
  nothing_left disk
  rm /tmp/data.* /tmp/lost
}

# Attached and detached by hand, and given from one bus driver to the other.
by_hand() {
  modules
  modprobe vhost_vdpa
  null_disks 0
  check create-by-hand polyblk volume create hand --level raid1 --size 40MiB --force /dev/nullb0 /dev/nullb1
  check serve-by-hand serve hand --frontend vduse --queues 2 || return
  check add vdpa dev add name hand mgmtdev vduse
  ls -l /sys/bus/vdpa/devices/hand
  if [ -e /sys/bus/vdpa/drivers/virtio_vdpa/hand ]; then first=virtio_vdpa; else first=vhost_vdpa; fi
  echo hand >/sys/bus/vdpa/drivers/$first/unbind
  for round in 1 2; do
    echo hand >/sys/bus/vdpa/drivers/virtio_vdpa/bind
    within 120 test -b /dev/vda
    dd if=/dev/urandom of=/tmp/p bs=64k count=16 2>/dev/null
    check disk-$round sh -c 'dd if=/tmp/p of=/dev/vda bs=64k oflag=direct && head -c 1048576 /dev/vda | cmp - /tmp/p'
    echo hand >/sys/bus/vdpa/drivers/virtio_vdpa/unbind
  done
  check del vdpa dev del hand
  check add-again vdpa dev add name hand mgmtdev vduse
  check end-by-hand end_serving
  nothing_left by-hand
}

# pinned NAME: the kernel took the server's memory for bounce pages.
pinned() { check $1 within 120 grep 'bounce pages are memory of this process' /tmp/$name.err; }

serve_two() { serve vm --frontend vduse --attach vhost --queues 2 --frontend vduse --vduse-name packed --attach virtio --packed on --pin-memory on --queues 1; }

# One volume with two devices, whose target is killed under the load of both: a vhost-vdpa device driven by libblkio, and a disk. The disk's driver
# takes packed rings when they are offered; they are recovered like split ones. Its bounce pages are the target's own memory: after a kill the
# kernel has what is in flight in pages of its own again, and its successor's take their place.
crashes() {
  modules
  modprobe vhost_vdpa
  null_disks 40000000
  check create-two polyblk volume create vm --level raid5 --size 40MiB --force /dev/nullb0 /dev/nullb1 /dev/nullb2
  check serve-two serve_two || return
  equal packed-negotiated "$(cut -c35 /sys/block/vda/device/features)" 1
  pinned bounce
  within 120 test -c /dev/vhost-vdpa-0
  check verified guest-programs vdpa verify /dev/vhost-vdpa-0 1 300 4194304
  guest-programs vdpa verify /dev/vhost-vdpa-0 2 200 8388608 /tmp/over >/tmp/load 2>&1 &
  client=$!
  within 200 sh -c "ls -l /proc/[0-9]*/fd 2>/dev/null | grep -q vhost-vdpa-0"
  refuse stop-in-use polyblk volume stop vm
  because stop-in-use-reason 'has it open'
  more nullb0 100
  stall nullb0 nullb1 nullb2
  fio --name=packed --filename=/dev/vda --offset=16m --size=2m --rw=randwrite --bs=4k --iodepth=32 --ioengine=libaio --direct=1 \
    --verify=crc32c --do_verify=1 --verify_fatal=1 --randseed=11 >/tmp/packed 2>&1 &
  load=$!
  check both-wait within 400 in_flight 8 2
  kill_server
  check serve-two-1 serve_two
  redone both-redone 2
  pinned bounce-again
  wait $load
  equal packed-over-kill $? 0
  more nullb0 100
  stall nullb0 nullb1 nullb2
  check vhost-waits within 400 in_flight 8 1
  kill_server
  check serve-two-2 serve_two
  redone vhost-redone 1
  more nullb0 100
  check still-running test -d /proc/$client
  touch /tmp/over
  wait $client
  equal verified-over-kills $? 0
  cat /tmp/load
  check finish-two end_serving
  nothing_left crashes
}

# boot_sector: a program for a processor as it starts up. It writes its own sector (at 0x7c00) to sector 1 of the disk that it came from, by the
# firmware's INT 13h, function 43h; says so on the serial port; and ends QEMU with status 33 by the debug port, with 255 where it could not write.
boot_sector() {
  printf '\x31\xc0\x8e\xd8\xbe\x29\x7c'                     # ds = 0; si = the disk address packet at 0x29
  printf '\xb8\x00\x43\xcd\x13\xb3\x7f\x72\x10'             # ax = 0x4300; int 0x13; bl = 0x7f; if carry: out
  printf '\xbe\x39\x7c\xba\xf8\x03'                         # si = the text at 0x39; dx = 0x3f8
  printf '\xac\x84\xc0\x74\x03\xee\xeb\xf8\xb3\x10'         # until its end: out dx; then bl = 0x10
  printf '\x88\xd8\xba\x01\x05\xee\xf4\xeb\xfd'             # out: to port 0x501; halt
  printf '\x10\x00\x01\x00\x00\x7c\x00\x00\x01\0\0\0\0\0\0\0' # the packet: 1 sector, from 0:0x7c00, to sector 1
  printf 'booted\n'
  head -c 446 /dev/zero
  printf '\x55\xaa'
}

# A virtual machine in this one, whose disk is the volume: its firmware starts what it finds there, which writes to it. The disk is there through
# vhost_vdpa, and then by QEMU's own virtio-blk on a block device of the same volume, with exactly the arguments that serve prints.
machine() {
  modules
  modprobe vhost_vdpa
  check create-boot volume boot raid5 3 16MiB
  check serve-boot serve boot --frontend vduse --attach vhost --frontend vduse --vduse-name side --attach virtio \
    --frontend virtio-iothread --carrier vduse --vcpus 2 --iothreads 2 || return
  boot_sector >/tmp/boot
  check install-boot dd if=/tmp/boot of=/dev/vda bs=512 count=1 oflag=direct
  boot_machine machine -device vhost-vdpa-device-pci,vhostdev=/dev/vhost-vdpa-0
  printed=$(sed -n 's/.*"text":"\(-object iothread.*\)","arguments":\["-object",.*/\1/p' /tmp/boot.ready | sed "s/\\\\u0027/'/g; s/\\\\u0022/\"/g; s/\\\\\"/\"/g")
  echo "serve says: $printed"
  eval "boot_machine iothread $printed"
  check finish-boot end_serving
  nothing_left machine
}

# boot_machine NAME QEMU-ARGUMENT...
boot_machine() {
  machine=$1
  shift
  dd if=/dev/zero of=/dev/vda bs=512 seek=1 count=1 oflag=direct
  timeout 400 qemu-system-x86_64 -M q35,memory-backend=mem -object memory-backend-memfd,id=mem,size=64M,share=on -m 64M -accel tcg -nodefaults \
    -no-user-config -display none -serial file:/tmp/serial -device isa-debug-exit "$@"
  equal $machine-boots "$? $(cat /tmp/serial)" '33 booted'
  dd if=/dev/vda of=/tmp/written bs=512 skip=1 count=1 iflag=direct
  check $machine-writes cmp /tmp/boot /tmp/written
}

# A hundred times made, attached, read and deleted, in one process, which must not hold more afterwards.
leaks() {
  modules
  check cycle-100 guest-programs vdpa cycle 100
  nothing_left leaks
}

for part in $parts; do
  read -r began idle_before </proc/uptime
  $part
  read -r ended idle_after </proc/uptime
  echo "PART $part took $began to $ended idle $idle_before to $idle_after"
done
dmesg | grep -E 'vduse|vdpa|BUG:|WARNING:|lockup|blocked for' | tail -n 20
pass done
exit 0
