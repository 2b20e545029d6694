# File systems on the disk of a guest (busybox sh, after lib.sh). Sourced by guest scripts.

# tree DIRECTORY: a checksum of all files in it.
tree() { (cd "$1" && find . -type f -exec sha256sum {} + | sort | sha256sum | cut -d' ' -f1); }

# drop_caches: what is read now comes from the disk.
drop_caches() { sync; echo 3 >/proc/sys/vm/drop_caches; }

# carries_ext4 NAME DISK: the disk takes a file system with a tree on it, which reads back the same, gives back what was deleted, and is clean.
# For disks of 24 MiB and more.
carries_ext4() {
  sample=/tmp/sample place=/tmp/ext4
  if [ ! -d $sample ]; then
    mkdir $sample $place
    cp /opt/polyblk/Polyblk.Frontends.*.dll $sample
    sample_sum=$(tree $sample)
  fi
  check ext4-$1-mkfs mkfs.ext4 -q -F $2 || return
  check ext4-$1-mount mount -t ext4 $2 $place || return
  cp -r $sample $place/kept
  cp -r $sample $place/deleted
  sync
  rm -r $place/deleted
  check ext4-$1-fstrim fstrim -v $place
  drop_caches
  equal ext4-$1-tree "$(tree $place/kept)" "$sample_sum"
  check ext4-$1-umount umount $place
  check ext4-$1-fsck e2fsck -fn $2
}
