# Proxmox VE on ext4 or LVM: GRUB from the EFI system partition, its configuration in /boot/grub of the root.
set -eu
mkdir -p /boot/efi
echo '/dev/vda1 /boot/efi vfat umask=0077 0 1' >> /etc/fstab
mount /boot/efi
cat > /etc/default/grub << EOF
GRUB_DEFAULT=0
GRUB_TIMEOUT=0
GRUB_DISTRIBUTOR="Proxmox VE"
GRUB_CMDLINE_LINUX_DEFAULT=""
GRUB_CMDLINE_LINUX="$PARAMETERS"
EOF
grub-install --target=x86_64-efi --efi-directory=/boot/efi --bootloader-id=proxmox
update-grub
