# Three volumes behind four doors in one daemon, which is killed again and again under load, and then succeeded (busybox sh, after lib.sh). $kills
# and $restarts say how often.

members() { for i in 1 2 3 4; do echo "file:/tmp/$1-$i,size=24MiB"; done; }

polyblk volume delete data
check create-a polyblk volume create a --level raid5 $(members a)
check create-b polyblk volume create b --level raid1 $(members b)
check create-c polyblk volume create c --level raid6 $(members c)
polyblk daemon --standby >/tmp/daemon.out 2>/tmp/daemon.err &
daemon=$!
within 60 polyblk export list
check export-a polyblk export add a --frontend vhost-user --socket /tmp/a.sock --queues 1 --frontend ublk --number 1
check export-b polyblk export add b --frontend vduse --attach virtio --frontend nbd --socket /tmp/b.sock
check export-c polyblk export add c --frontend ublk --number 3 --frontend vhost-user --socket /tmp/c.sock --queues 1
within 60 sh -c 'test -b /dev/vda && test -b /dev/ublkb3'
loaded='a-vhost-user=/tmp/a.sock a-ublk=/dev/ublkb1 b-vduse=/dev/vda b-nbd=/tmp/b.sock#b c-ublk=/dev/ublkb3 c-vhost-user=/tmp/c.sock'
check killed guest-programs kills $kills /run/polyblk/_daemon/lock $loaded
equal told "$(polyblk events --limit 10000 --json | grep -c '"daemon-died"')" $kills
check restarted guest-programs restarts $restarts /run/polyblk/_daemon/lock $loaded
equal only-killed "$(polyblk events --limit 10000 --json | grep -c '"daemon-died"')" $kills
check healthy polyblk check
kill -TERM $daemon
wait $daemon
equal finish-killed $? 0
equal nothing-left-killed "$(ls /dev/vd[a-z] /dev/ublkb* /sys/bus/vdpa/devices 2>/dev/null | grep -v : | xargs)" ''
