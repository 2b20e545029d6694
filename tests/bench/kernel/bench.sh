# In the guest (busybox sh, after lib.sh): eight block devices on equal backings, each loaded in turn. $ROUNDS and $RUN_MS are set before.
#
#   file   files of 64 MiB in tmpfs, filled: polyblk's VDUSE, qemu-storage-daemon's VDUSE, polyblk's ublk, the loop driver
#   null   a device that moves nothing: polyblk's null drive by VDUSE and ublk, qemu-storage-daemon's null-co, the loop driver on null_blk
#
# Targets are pinned to processor 0, fio to processor 1; the loop driver's workers cannot be pinned. In a round one fio runs all jobs one
# after the other; each job is preceded and followed by a copy of /proc/stat, from which the processor time of the whole machine is taken.

export PATH=/usr/sbin:/usr/bin:/sbin:/bin
for m in virtio_blk ublk_drv vduse virtio_vdpa loop; do modprobe $m; done
modprobe null_blk nr_devices=1 gb=1 bs=4096 queue_mode=2 submit_queues=1 completion_nsec=0 irqmode=0
mkdir -p /tmp/out /dev/shm/b
size=67108864
for f in vduse qsd ublk loop; do dd if=/dev/urandom of=/dev/shm/b/$f bs=1M count=64 2>/dev/null; done

# serve NAME DRIVE OPTION...: a volume of one drive, served.
serve() {
  name=$1 drive=$2
  shift 2
  polyblk volume create $name --level none $drive >/tmp/$name.log 2>&1 || { cat /tmp/$name.log; return 1; }
  taskset -c 0 polyblk serve $name --json --reactors 0 --log-level warning "$@" >/tmp/$name.ready 2>>/tmp/$name.log &
  within 120 test -s /tmp/$name.ready || { cat /tmp/$name.log; return 1; }
}
# endpoint NAME: the device, as the server said it.
endpoint() { sed 's/.*"endpoint":"\([^"]*\)".*/\1/' /tmp/$1.ready; }

# storage_daemon NAME BLOCKDEV: a vduse-blk export of it, attached.
storage_daemon() {
  taskset -c 0 qemu-storage-daemon --object iothread,id=io --blockdev $2,node-name=d \
    --export vduse-blk,id=e,node-name=d,name=$1,writable=on,num-queues=1,iothread=io 2>/tmp/$1.log &
  daemon=$!
  within 20 test -e /dev/vduse/$1 && kill -0 $daemon || { cat /tmp/$1.log; return 1; }
  vdpa dev add name $1 mgmtdev vduse
}
disk_of() { ls /sys/bus/vdpa/devices/$1/virtio*/block; }

vduse=--frontend\ vduse\ --attach\ virtio\ --queues\ 1
# A single drive gets a superblock of 1 MiB in front of its data: the file is larger by that.
truncate -s $((size + 2097152)) /dev/shm/b/vduse; truncate -s $((size + 2097152)) /dev/shm/b/ublk
check vduse-file serve pvf file:/dev/shm/b/vduse $vduse --vduse-name pvf
check ublk-file serve puf file:/dev/shm/b/ublk --frontend ublk --queues 1 --number 8
check vduse-null serve pvn null:256MiB $vduse --vduse-name pvn
check ublk-null serve pun null:256MiB --frontend ublk --queues 1 --number 9
for mode in aio=io_uring,cache.direct=on aio=io_uring aio=threads; do
  storage_daemon qvf driver=file,filename=/dev/shm/b/qsd,$mode && { pass qsd-file $mode; break; }
done
check qsd-null storage_daemon qvn driver=null-co,size=268435456,read-zeroes=off
# By its path: busybox has a losetup of its own, without direct I/O.
check loop-file /usr/sbin/losetup --direct-io=on /dev/loop0 /dev/shm/b/loop
check loop-null /usr/sbin/losetup --direct-io=on /dev/loop1 /dev/nullb0
for n in pvf pvn qvf qvn; do within 30 disk_of $n || fail $n "no disk"; done

# job NAME DEVICE RW DEPTH
job() {
  cat <<JOB
[$1]
stonewall
filename=$2
rw=$3
iodepth=$4
exec_prerun=cp /proc/stat /tmp/out/$round.$1.before
exec_postrun=cp /proc/stat /tmp/out/$round.$1.after
JOB
}

devices="vduse:file:/dev/$(disk_of pvf) qsd:file:/dev/$(disk_of qvf) ublk:file:/dev/ublkb8 loop:file:/dev/loop0
  vduse:null:/dev/$(disk_of pvn) qsd:null:/dev/$(disk_of qvn) ublk:null:/dev/ublkb9 loop:null:/dev/loop1"
echo "$devices"
for round in $(seq $ROUNDS); do
  # Each round begins with another device.
  turned=$(echo $devices | awk -v r=$round '{ for (i = 0; i < NF; i++) print $((i + r) % NF + 1) }')
  {
    printf '[global]\nioengine=io_uring\ndirect=1\nbs=4k\nsize=64m\nthread=1\ntime_based=1\nruntime=%sms\nnorandommap=1\nrandseed=%s\n' $RUN_MS $round
    for device in $turned; do
      for load in randread:1 randread:32 randwrite:1 randwrite:32; do
        job $(echo ${device%%:/*} | tr : -)-${load%:*}-${load#*:} ${device##*:} ${load%:*} ${load#*:}
      done
    done
  } >/tmp/jobs
  taskset -c 1 fio --output-format=json --output=/tmp/out/$round.json /tmp/jobs >/tmp/fio.log 2>&1 || { fail round-$round "$(tail -1 /tmp/fio.log)"; cat /tmp/fio.log; }
  signal round $round
done
deliver /tmp/out
exit 0
