# The daemon under systemd: what becomes of it when its processes die, and with the options of /etc/default/polyblk.

# A virtual machine has the volume for a disk.
boot_machine
equal machine "$seen" '33 written'
check read-beside-machine rig_program guest-programs pattern read 7 8388608 vm=$socket

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
