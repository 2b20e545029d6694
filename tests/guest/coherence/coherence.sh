# One process serves one array through four doors at once, in a guest that uses them all (busybox sh, after lib.sh).

for m in ublk_drv vduse virtio_vdpa virtio_blk nbd; do modprobe $m; done
check create polyblk volume create data --level raid5 file:/tmp/1,size=48MiB file:/tmp/2,size=48MiB file:/tmp/3,size=48MiB
polyblk serve data --json --frontend vhost-user --socket /tmp/vhost.sock --frontend vduse --attach virtio --queues 2 --frontend ublk --queues 2 \
  --frontend nbd --socket /tmp/nbd.sock >/tmp/ready 2>/tmp/err &
server=$!
within 400 sh -c "test -s /tmp/ready || ! test -d /proc/$server"
cat /tmp/ready
ublk=$(grep -o '"endpoint":"[^"]*ublk[^"]*"' /tmp/ready | head -n 1 | cut -d'"' -f4)
check nbd nbd-client -unix /tmp/nbd.sock /dev/nbd0 -b 4096
equal doors "$(test -S /tmp/vhost.sock && test -b /dev/vda && test -b "$(readlink -f "$ublk")" && test -b /dev/nbd0 && echo all)" all || { cat /tmp/err; exit 1; }
check coherent guest-programs coherence 11 vhost-user=/tmp/vhost.sock vduse=/dev/vda ublk=$ublk nbd=/dev/nbd0

# With a drive missing, every door reads what the others left.
nbd-client -d /dev/nbd0
kill -TERM $server
wait $server
equal finish $? 0
# (The one before it has said that it is ready in the same file, which the shell empties only when the child gets to it.)
rm /tmp/2 /tmp/ready
polyblk serve data --allow-degraded --json --frontend vhost-user --socket /tmp/vhost.sock --frontend vduse --attach virtio --queues 2 --frontend ublk --queues 2 \
  >/tmp/ready 2>/tmp/err &
server=$!
within 400 sh -c "test -s /tmp/ready || ! test -d /proc/$server"
ublk=$(grep -o '"endpoint":"[^"]*ublk[^"]*"' /tmp/ready | head -n 1 | cut -d'"' -f4)
check coherent-degraded guest-programs coherence 12 vhost-user=/tmp/vhost.sock vduse=/dev/vda ublk=$ublk
kill -TERM $server
wait $server
equal finish-degraded $? 0
cat /tmp/err
equal nothing-left "$(ls /dev/vd[a-z] /dev/ublkb* /sys/bus/vdpa/devices 2>/dev/null | grep -v : | xargs)" ''
