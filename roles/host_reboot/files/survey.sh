# shellcheck shell=sh
# What the role decides by, a fact a line. It only reads.
echo "running $(uname -r)"
# A kernel that is pinned is started instead of the newest one.
for pin in /etc/kernel/next-boot-pin /etc/kernel/proxmox-boot-pin; do
  if [ -s "$pin" ]; then next=${next:-$(head -n 1 "$pin")}; fi
done
newest=$(find /boot -maxdepth 1 -name 'vmlinuz-*' 2>/dev/null | sed 's|.*/vmlinuz-||' | sort --version-sort | tail -n 1)
if [ -n "${next:-$newest}" ]; then echo "next ${next:-$newest}"; fi
if [ -e /run/reboot-required ]; then echo "required yes"; fi
if command -v pvesh > /dev/null; then echo "pvesh yes"; fi
