# The second boot: all of it is back by itself; then the package goes, and the drives stay.
check served-after-reboot within 60 is_served
check optimal polyblk check
socket=/run/polyblk/data/data-vhost-user-0.sock
check read-after-reboot rig_program guest-programs pattern read 7 8388608 vm=$socket
! is_with_machine || { boot_machine; equal machine-after-reboot "$seen" '35 found'; }
refuse own-process-after-reboot test "$(serving_pid data)" = "$(serving_pid)"
systemctl stop polyblk
equal clean "$(systemctl show -p Result --value polyblk)" success
drives="$(disk 11) $(disk 12) $(disk 13)"
held=$(cat $drives | sha256sum)
# What the first boot has put beside the package.
rm -rf /etc/systemd/system/polyblk.service.d
check purge dpkg --purge polyblk
equal drives-stay "$(cat $drives | sha256sum)" "$held"
refuse no-service systemctl cat polyblk
files /root/after
check nothing-left diff /root/before /root/after
refuse no-runtime test -e /run/polyblk
finish 0
