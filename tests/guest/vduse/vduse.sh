# Functions for guests that serve volumes over VDUSE (busybox sh, after lib.sh).

modprobe vduse && modprobe virtio_vdpa && modprobe virtio_blk && modprobe ext4 && modprobe xfs

# volume NAME LEVEL COUNT SIZE: a volume of sparse files in memory.
volume() {
  members=
  for i in $(seq $3); do members="$members file:/tmp/$1.$i,size=$4"; done
  polyblk volume create $1 --level $2 $members
}

# serve NAME OPTION...: serves a volume in the background; $server is its process.
serve() {
  name=$1
  shift
  rm -f /tmp/$name.ready
  polyblk serve $name --json --frontend vduse "$@" >/tmp/$name.ready 2>/tmp/$name.err &
  server=$!
  within 120 test -s /tmp/$name.ready && return 0
  cat /tmp/$name.err
  return 1
}

# finish: ends the server in order.
finish() {
  kill -TERM $server
  wait $server
  status=$?
  cat /tmp/$name.err
  return $status
}

tree() { (cd "$1" && find . -type f | sort | xargs sha256sum | sha256sum | cut -d' ' -f1); }
io_errors() { dmesg | grep -ciE 'I/O error|EXT4-fs error|XFS.*(error|corrupt)|blk_update_request' || true; }
