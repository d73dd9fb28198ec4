# The kernel modules of ZFS, built of Debian's zfs-dkms in the file system on standard input, which has the headers of
# the kernel that is the argument and a compiler; they go to standard output as an archive.
set -eu
PATH=$PATH:/usr/sbin:/sbin
work=$(mktemp -d)
trap 'mountpoint -q "$work/dev/null" && umount "$work/dev/null"; rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
tar --extract --numeric-owner --exclude='./boot/*' --exclude='./usr/lib/modules/*' --directory "$work"
# Who is root in a user namespace only cannot make devices.
[ -c "$work/dev/null" ] || { : > "$work/dev/null" && mount --bind /dev/null "$work/dev/null"; }
# Nothing has configured the packages.
ln -sf mawk "$work/usr/bin/awk"
# Without what a debugger wants, which takes as long again; for vmlinux, there would have to be some of it.
chroot "$work" env KCFLAGS=-g0 bash -eu -c '
	kernel=/usr/src/linux-headers-$1
	rm -f "$kernel/vmlinux"
	cd /usr/src/zfs-*
	{ ./configure --quiet --with-config=kernel --with-linux="${kernel%-*}-common" --with-linux-obj="$kernel" &&
		make --silent --jobs="$(nproc)"; } > /tmp/log 2>&1 || { tail -n 20 /tmp/log >&2; exit 1; }
' build "$1"
tar --create --directory "$work"/usr/src/zfs-*/module spl.ko zfs.ko
