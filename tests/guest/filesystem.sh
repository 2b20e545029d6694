# File systems on the disk of a guest (busybox sh, after lib.sh). Sourced by guest scripts.

# tree DIRECTORY: a checksum of all files in it.
tree() { (cd "$1" && find . -type f -exec sha256sum {} + | sort | sha256sum | cut -d' ' -f1); }

# drop_caches: what is read now comes from the disk.
drop_caches() { sync; echo 3 >/proc/sys/vm/drop_caches; }

# begin_samples: makes the tree that file systems carry, in /tmp/sample; its checksum is $sample_sum. All of it is other parts of one program; its
# file "large" has 320 KiB. A larger file is /tmp/mebibyte.
begin_samples() {
  sample=/tmp/sample
  [ ! -d $sample ] || return 0
  mkdir $sample
  samples_at=64
  for piece in large:320 middle:120 small:24 page:4; do
    dd if=/opt/polyblk/polyblk of=$sample/${piece%:*} bs=1k skip=$samples_at count=${piece#*:} 2>/dev/null
    samples_at=$((samples_at + ${piece#*:}))
  done
  head -c 70001 /opt/polyblk/polyblk >$sample/odd
  : >$sample/empty
  dd if=/opt/polyblk/polyblk of=/tmp/mebibyte bs=1k skip=1024 count=1024 2>/dev/null
  sample_sum=$(tree $sample)
}

mkfs_ext4() { mkfs.ext4 -q -F $1; }
fsck_ext4() { e2fsck -fn $1; }

# mkfs.xfs makes file systems below 300 MiB only for tests, which say so by these variables.
mkfs_xfs() { TEST_DIR=/mnt TEST_DEV=$1 QA_CHECK_FS=1 mkfs.xfs -q -f $1; }
# One allocation group has no second superblock to be held against; xfs_repair wants to be told that this is known.
fsck_xfs() { xfs_repair -n -o force_geometry $1; }

# carries NAME KIND DISK: the disk takes a file system with a tree on it, which reads back the same, gives back what was deleted, and is clean.
# KIND is ext4 or xfs; for disks of 24 MiB and more.
carries() {
  begin_samples
  carried=$2-$1 place=/tmp/$2
  mkdir -p $place
  check $carried-mkfs mkfs_$2 $3 || return
  check $carried-mount mount -t $2 $3 $place || return
  cp -r $sample $place/kept
  cp -r $sample $place/deleted
  sync
  rm -r $place/deleted
  check $carried-fstrim fstrim -v $place
  drop_caches
  equal $carried-tree "$(tree $place/kept)" "$sample_sum"
  check $carried-umount umount $place
  check $carried-fsck fsck_$2 $3
}

# carries_in_turn ARRAY DISK: a mirror and one parity level carry file systems, healthy and degraded, each state another kind. What a file system
# sends is the same whatever is below it: other levels get verified loads, discards and kills, and tests/raid holds every level to its data.
carries_in_turn() {
  case $1 in
    raid1 | raid5-degraded) carries $1 ext4 $2 ;;
    raid5 | raid1-degraded) carries $1 xfs $2 ;;
  esac
}
