# The daemon as root (as-root.conf), for the doors whose drivers ask for that; and back again.
overrides=/etc/systemd/system/polyblk.service.d
mkdir -p $overrides
cp /usr/share/doc/polyblk/examples/as-root.conf $overrides/
systemctl daemon-reload
check restarted-as-root systemctl restart polyblk
check served-as-root within 60 is_served
equal root-user "$(stat -c %U /proc/$(serving_pid))" root
check export-doors polyblk export add data --frontend ublk --frontend vduse --attach virtio
vdpa_disk() { basename /sys/bus/vdpa/devices/*/virtio*/block/vd*; }
doors_are_there() { [ -b /dev/ublkb0 ] && [ -b "/dev/$(vdpa_disk)" ]; }
check devices within 60 doors_are_there
check read-by-ublk rig_program guest-programs pattern read 7 8388608 ublk=/dev/ublkb0
check read-by-vduse rig_program guest-programs pattern read 7 8388608 "vduse=/dev/$(vdpa_disk)"
serving=$(serving_pid)
kill -9 "$serving"
check replaced-as-root within 30 is_replaced "$serving"
check read-by-ublk-after-kill rig_program guest-programs pattern read 7 8388608 ublk=/dev/ublkb0
check read-by-vduse-after-kill rig_program guest-programs pattern read 7 8388608 "vduse=/dev/$(vdpa_disk)"
check removed-ublk polyblk export remove data/ublk/0
check removed-vduse polyblk export remove data/vduse/0
equal no-device "$(ls -d /dev/ublkb* /sys/bus/vdpa/devices/* 2>/dev/null)" ''
rm $overrides/as-root.conf
systemctl daemon-reload
systemctl restart polyblk
check served-as-user within 60 is_served
equal user-again "$(stat -c %U /proc/$(serving_pid))" polyblk
check read-as-user rig_program guest-programs pattern read 7 8388608 vm=$socket

