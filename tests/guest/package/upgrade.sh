# An upgrade, and a process of the volume's own. Ends with a reboot.
# An upgrade leaves it as it is; then the program that is installed now takes over, inside the unit.
before=$(main_pid) serving=$(serving_pid)
check upgraded dpkg -i /run/rig/polyblk.deb
equal serves-on "$(serving_pid)" "$serving"
check old-program is_program_gone "$serving"
check succeeded polyblk daemon restart
check replaced-by-successor within 30 is_replaced "$serving"
refuse new-program is_program_gone "$(serving_pid)"
equal same-main-process "$(main_pid)" "$before"
check read-after-succession rig_program guest-programs pattern read 7 8388608 vm=$socket

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
