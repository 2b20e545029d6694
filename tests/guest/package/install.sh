# The first boot: a fresh system, into which the package comes. What follows it is in the next script.
files /root/before
check install apt-get -qq -y --no-install-recommends -o Dpkg::Use-Pty=0 install /run/rig/polyblk.deb
equal enabled "$(systemctl is-enabled polyblk)" enabled
equal active "$(systemctl is-active polyblk)" active
equal user "$(stat -c %U:%G /proc/$(main_pid))" polyblk:polyblk
equal no-capability "$(sed -n 's/^CapEff:\t//p' /proc/$(main_pid)/status)" 0000000000000000
equal no-new-privileges "$(sed -n 's/^NoNewPrivs:\t//p' /proc/$(main_pid)/status)" 1
equal filtered "$(sed -n 's/^Seccomp:\t//p' /proc/$(main_pid)/status)" 2
equal level "$(basename "$(dirname "$(readlink /proc/$(main_pid)/exe)")")" x86-64-v3

a=$(disk 11) b=$(disk 12) c=$(disk 13)
check create polyblk volume create data --level raid5 "$a" "$b" "$c"
equal record-owner "$(stat -c %U /var/lib/polyblk/volumes/data.json)" polyblk
# A hook of root's is run without being asked for, as the daemon's user.
printf '#!/bin/sh\nid -un >>/run/polyblk/hook.$POLYBLK_EVENT_KIND\n' >/etc/polyblk/hooks.d/note
chmod 755 /etc/polyblk/hooks.d/note
check export polyblk export add data --frontend vhost-user --frontend nbd
check served polyblk check
check hook within 20 test -s /run/polyblk/hook.export-added
equal hook-user "$(head -n 1 /run/polyblk/hook.export-added)" polyblk
rm /etc/polyblk/hooks.d/note
socket=/run/polyblk/data/data-vhost-user-0.sock
check written rig_program guest-programs pattern write 7 8388608 vm=$socket
check read rig_program guest-programs pattern read 7 8388608 vm=$socket
refuse others setpriv --reuid=65534 --regid=65534 --clear-groups test -e $socket
# What the unit keeps from it: the file system, and the network.
refuse nothing-written nsenter -t $(main_pid) -m touch /srv/x
refuse no-network test "$(readlink /proc/$(main_pid)/ns/net)" = "$(readlink /proc/1/ns/net)"
