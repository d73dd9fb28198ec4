# A disk with a GPT, an empty EFI system partition and a root made of the archive on standard input; it goes to
# standard output. Needs neither mounts nor loop devices.
set -eu
PATH=$PATH:/usr/sbin:/sbin
mib=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/root"
tar --extract --numeric-owner --exclude='./dev/*' --directory "$work/root"
truncate -s "${mib}M" "$work/disk"
sfdisk --quiet "$work/disk" << EOF
label: gpt
start=1MiB, size=512MiB, type=U
start=513MiB, type=L
EOF
mkfs.vfat -F 32 -n ESP --offset 2048 "$work/disk" $((512 << 10)) > /dev/null
# The last MiB belongs to the copy of the partition table.
mke2fs -q -t ext4 -d "$work/root" -E "offset=$((513 << 20)),lazy_itable_init=0" "$work/disk" "$(((mib - 514) << 10))k"
dd if="$work/disk" bs=1M conv=sparse status=none
