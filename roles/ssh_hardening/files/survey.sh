# shellcheck shell=sh
# What the role decides by, a fact a line. The argument is the path of the drop-in. It only reads.
if [ -x /usr/sbin/sshd ] && [ -x /usr/bin/ssh ]; then
  echo "fact programs yes"
  ssh -V 2>&1
  for kind in cipher mac kex; do ssh -Q $kind; done
fi
[ -e /etc/ssh/ssh_host_ed25519_key ] && echo "fact ed25519 yes"
[ -e /etc/ssh/ssh_host_rsa_key ] && echo "fact rsa $(ssh-keygen -l -f /etc/ssh/ssh_host_rsa_key | cut -d' ' -f1)"
# The server needs this directory to check a configuration, and makes it only while it runs.
[ -d /run/sshd ] && echo "fact directory yes"
systemctl --quiet is-enabled ssh.socket && echo "fact socket yes"
for unit in ssh.service ssh.socket; do
  if systemctl --quiet is-enabled $unit && systemctl --quiet is-active $unit; then echo "running $unit"; fi
done
grep -qE '^[[:blank:]]*Include[[:blank:]]+/etc/ssh/sshd_config\.d/\*\.conf[[:blank:]]*$' /etc/ssh/sshd_config && echo "fact included yes"
# The fifth field is the length in bits less one.
awk '!/^#/ && $5 < 3071 { small = 1 } END { exit !small }' /etc/ssh/moduli && echo "fact small_groups yes"
echo "fact dropin $(stat --format %a:%U:%G "$1" 2>/dev/null):$(sha256sum "$1" 2>/dev/null | cut -d' ' -f1)"
# Who has a shell and a key; on a Proxmox VE node, root's file is a link.
getent passwd | while IFS=: read -r name _ _ _ _ home shell; do
  case $shell in *nologin | *false | */sync) continue ;; esac
  if [ -s "$home/.ssh/authorized_keys" ]; then echo "user $name"; fi
done
