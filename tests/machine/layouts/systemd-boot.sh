# Proxmox VE on ZFS: kernels and boot entries on the EFI system partition, kept there by proxmox-boot-tool.
set -eu
echo "root=/dev/vda2 ro $PARAMETERS" > /etc/kernel/cmdline
proxmox-boot-tool init /dev/vda1
