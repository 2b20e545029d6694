# The first boot: a fresh system, into which the package comes. Ends with a reboot.
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
check export polyblk export add data --frontend vhost-user --frontend nbd
check served polyblk check
socket=/run/polyblk/data/data-vhost-user-0.sock
check written rig_program guest-programs pattern write 7 8388608 vm=$socket
check read rig_program guest-programs pattern read 7 8388608 vm=$socket
refuse others setpriv --reuid=65534 --regid=65534 --clear-groups test -e $socket
# What the unit keeps from it: the file system, and the network.
refuse nothing-written nsenter -t $(main_pid) -m touch /srv/x
refuse no-network test "$(readlink /proc/$(main_pid)/ns/net)" = "$(readlink /proc/1/ns/net)"

# One process serves and one stands by; systemd's keeps them. Killed, it is started anew with both of them.
before=$(main_pid)
refuse supervised test "$before" = "$(serving_pid)"
equal serving-user "$(stat -c %U:%G /proc/$(serving_pid))" polyblk:polyblk
kill -9 "$before"
check served-after-kill within 30 is_served_by_others "$before"
check read-after-kill rig_program guest-programs pattern read 7 8388608 vm=$socket
# The one that serves is replaced by the one that stands by, and systemd's stays.
before=$(main_pid) serving=$(serving_pid)
kill -9 "$serving"
check replaced within 30 is_replaced "$serving"
check read-after-replacement rig_program guest-programs pattern read 7 8388608 vm=$socket
# As after an upgrade: the program that is installed now takes over, inside the unit.
serving=$(serving_pid)
check succeeded polyblk daemon restart
check replaced-by-successor within 30 is_replaced "$serving"
equal same-main-process "$(main_pid)" "$before"
check read-after-succession rig_program guest-programs pattern read 7 8388608 vm=$socket

# Without one that stands by systemd follows the successor. And a port for Prometheus.
sed -i 's/="--standby /="--metrics 127.0.0.1:9777 /' /etc/default/polyblk
mkdir -p /etc/systemd/system/polyblk.service.d
cp /usr/share/doc/polyblk/examples/metrics.conf /etc/systemd/system/polyblk.service.d/
systemctl daemon-reload
check restarted systemctl restart polyblk
check served-alone within 60 is_served
before=$(main_pid)
equal alone "$(serving_pid)" "$before"
check scraped within 30 is_scraped
check succeeded-alone polyblk daemon restart
check followed within 30 is_served_by_others "$before"
check read-after-succession-alone rig_program guest-programs pattern read 7 8388608 vm=$socket
check scraped-after-succession within 30 is_scraped
sed -i 's/="/&--standby /' /etc/default/polyblk
systemctl restart polyblk
check served-with-all within 60 is_served

# A process of its own, inside the same unit.
check isolate polyblk volume set data --isolate on
check stopped polyblk volume stop data
check started polyblk volume start data
refuse own-process test "$(serving_pid data)" = "$(serving_pid)"
equal own-process-user "$(stat -c %U:%G "/proc/$(serving_pid data)")" polyblk:polyblk
check read-isolated rig_program guest-programs pattern read 7 8388608 vm=$socket
own=$(serving_pid data)
kill -9 "$own"
check own-process-after-kill within 30 is_isolated "$own"
check read-isolated-after-kill within 30 rig_program guest-programs pattern read 7 8388608 vm=$socket
systemctl stop polyblk
equal clean-with-processes "$(systemctl show -p Result --value polyblk)" success
equal nothing-left-running "$(stat -c '%U %n' /proc/[0-9]* | grep '^polyblk ')" ''
check completion sh -c 'polyblk "[suggest:17]" "polyblk volume cr" | grep -qx create'
finish 0
