#!/bin/busybox sh
# The first process of the initramfs: hands the machine over to the systemd of the disk in slot 10. What the rig has for it goes
# to /run/rig, which is memory; a unit there runs the script. Nothing is written to the disk.
export PATH=/bin:/sbin:/usr/bin:/usr/sbin
/bin/busybox mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
[ -d /lib/modules ] || ln -s ../usr/lib/modules /lib/modules
for online in /sys/devices/system/cpu/cpu[0-9]*/online; do
  [ "$(cat "$online" 2>/dev/null)" != 0 ] || echo 1 >"$online"
done
read -r up _ </proc/uptime
echo "rig: booted $(uname -r) in $up s"
. /rig/lib.sh
for module in virtio_blk ext4 ublk_drv vduse virtio_vdpa; do modprobe $module; done
mount -t ext4 "$(disk 10)" /mnt || { echo "rig: the disk cannot be mounted"; poweroff -f; }
mount -t tmpfs -o mode=755 run /mnt/run
mkdir -p /mnt/run/systemd/system/multi-user.target.wants
cp -a /rig /mnt/run/rig
# QEMU, with the host's loader and all libraries that it came with: in a folder of their own, for they need not fit the disk's system.
if [ -x /usr/bin/qemu-system-x86_64 ]; then
  mkdir /mnt/run/rig/qemu
  cp /usr/bin/qemu-system-x86_64 /mnt/run/rig/qemu/
  find / -xdev -name '*.so*' ! -path '*/modules/*' ! -path '/rig/*' ! -path '/mnt/*' -exec cp -Lf {} /mnt/run/rig/qemu/ ';'
fi
sed -i "s:^\. /rig/lib.sh:. /run/rig/lib.sh:" /mnt/run/rig/run
cat >/mnt/run/systemd/system/rig.service <<'EOF'
[Unit]
After=basic.target systemd-udev-trigger.service
[Service]
ExecStart=/bin/bash -c '. /run/rig/system.sh; exec 3<>"$(control)"; . /run/rig/run'
StandardOutput=tty
StandardError=tty
TTYPath=/dev/console
EOF
ln -s ../rig.service /mnt/run/systemd/system/multi-user.target.wants/rig.service
mount --move /proc /mnt/proc
mount --move /sys /mnt/sys
mount --move /dev /mnt/dev
exec switch_root /mnt /sbin/init
