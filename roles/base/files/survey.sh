# shellcheck shell=sh
# What the role decides by, a fact a line. The arguments are the time zone and names of packages. It only reads.
if [ -f "/usr/share/zoneinfo/$1" ]; then echo "fact zone yes"; fi
shift
dpkg-query --show --showformat '${db:Status-Status} ${Package}\n' "$@" 2>/dev/null | sed -n 's/^installed /package /p'
getent passwd | sed 's/^/account /'
if [ -x /usr/sbin/update-ca-certificates ]; then echo "fact ca_program yes"; fi
for file in /usr/local/share/ca-certificates/onprem/*.crt; do
  if [ -e "$file" ]; then echo "certificate $file"; fi
done
if grep -q ' onprem.cloud base$' /etc/hosts; then echo "fact hosts yes"; fi
if [ -d /etc/systemd/journald.conf.d ]; then echo "fact journal_directory yes"; fi
# A link from Debian 13 on, whose mode would be compared instead of the file's.
echo "fact locale_file $(readlink -f /etc/default/locale)"
locale -a 2>/dev/null | sed 's/^/locale /'
for timer in apt-daily.timer apt-daily-upgrade.timer; do
  if systemctl --quiet is-enabled "$timer" && systemctl --quiet is-active "$timer"; then echo "timer $timer"; fi
done
exit 0
