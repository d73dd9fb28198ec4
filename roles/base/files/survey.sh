# shellcheck shell=sh
# What the role decides by, a fact a line. The arguments are the time zone, names of packages, and after -- the paths of
# files. It only reads.
if [ -f "/usr/share/zoneinfo/$1" ]; then echo "fact zone yes"; fi
shift
packages=
while [ "$1" != -- ]; do packages="$packages $1" && shift; done
shift
# shellcheck disable=SC2086 # names of packages have no blanks
dpkg-query --show --showformat '${db:Status-Status} ${Package}\n' $packages 2>/dev/null | sed -n 's/^installed /package /p'
getent passwd | sed 's/^/account /'
getent shadow | awk -F: '{ print "login", $1, $2 ~ /^!/ ? "locked" : "open", $8 "." }'
stat --format 'mode %a %U %G %n' "$@" /home/*/.ssh /home/*/.ssh/authorized_keys 2>/dev/null
sha256sum "$@" /home/*/.ssh/authorized_keys 2>/dev/null
if [ -x /usr/sbin/update-ca-certificates ]; then echo "fact ca_program yes"; fi
for file in /usr/local/share/ca-certificates/onprem/*.crt; do
  if [ -e "$file" ]; then echo "certificate $file"; fi
done
if grep -q ' onprem.cloud base$' /etc/hosts; then echo "fact hosts yes"; fi
if [ -d /etc/systemd/journald.conf.d ]; then echo "fact journal_directory yes"; fi
echo "fact localtime $(readlink /etc/localtime)"
# A link from Debian 13 on, whose mode would be compared instead of the file's.
locale_file=$(readlink -f /etc/default/locale)
echo "fact locale_file $locale_file"
echo "fact locale $(stat --format %a:%U:%G "$locale_file" 2>/dev/null):$(sed -n 's/^LANG=//p' "$locale_file" 2>/dev/null)"
locale -a 2>/dev/null | sed 's/^/locale /'
for timer in apt-daily.timer apt-daily-upgrade.timer; do
  if systemctl --quiet is-enabled "$timer" && systemctl --quiet is-active "$timer"; then echo "timer $timer"; fi
done
exit 0
